//! Which addresses the node calls for a workflow: public ones, and those that its operator allows.
//!
//! Whoever writes a workflow chooses URLs, but does not get the node's place in the network with them: its own ports, its neighbours', and the
//! metadata service of its cloud are not theirs to reach.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A range of addresses: `10.0.0.0/8`, `fd00::/8`, `127.0.0.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    /// True if the address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(range), IpAddr::V4(address)) => in_range_v4(address, range, self.bits),
            (IpAddr::V6(range), IpAddr::V6(address)) => in_range_v6(address, range, self.bits),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a range of addresses; write for example 10.0.0.0/8 or 192.168.1.7");
        let (address, bits) = text.trim().split_once('/').map_or((text.trim(), None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| wrong()))?;
        if bits > most { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Ranges that are not public, though the registry of special addresses calls some of them reachable.
const SPECIAL_V4: &[([u8; 4], u8)] = &[
    ([0, 0, 0, 0], 8),       // this network
    ([10, 0, 0, 0], 8),      // private
    ([100, 64, 0, 0], 10),   // carriers' own
    ([127, 0, 0, 0], 8),     // loopback
    ([169, 254, 0, 0], 16),  // link-local, and clouds' metadata
    ([172, 16, 0, 0], 12),   // private
    ([192, 0, 0, 0], 24),    // protocol assignments
    ([192, 0, 2, 0], 24),    // documentation
    ([192, 88, 99, 0], 24),  // old relays
    ([192, 168, 0, 0], 16),  // private
    ([198, 18, 0, 0], 15),   // benchmarks
    ([198, 51, 100, 0], 24), // documentation
    ([203, 0, 113, 0], 24),  // documentation
    ([224, 0, 0, 0], 4),     // multicast
    ([240, 0, 0, 0], 4),     // reserved, broadcast
];

const SPECIAL_V6: &[([u16; 8], u8)] = &[
    ([0, 0, 0, 0, 0, 0, 0, 0], 96),          // unspecified, loopback, IPv4 of old
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),  // local translation
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64),      // discard
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),     // protocol assignments, Teredo
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),      // private
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),     // link-local
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),     // site-local of old
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),      // multicast
];

/// The addresses that may be called.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    allowed: Vec<Cidr>,
}

impl Reach {
    /// Public addresses and these.
    pub fn new(allowed: Vec<Cidr>) -> Self {
        Self { allowed }
    }

    /// True if the address may be called.
    pub fn allows(&self, address: IpAddr) -> bool {
        // An IPv4 address is judged as such, however it is dressed.
        let address = match address {
            IpAddr::V6(six) => embedded_v4(six).map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        let special = match address {
            IpAddr::V4(four) => SPECIAL_V4.iter().any(|(range, bits)| in_range_v4(four, Ipv4Addr::from(*range), *bits)),
            IpAddr::V6(six) => SPECIAL_V6.iter().any(|(range, bits)| in_range_v6(six, Ipv6Addr::from(*range), *bits)),
        };
        !special || self.allowed.iter().any(|range| range.contains(address))
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped, translated (NAT64) or tunnelled (6to4).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let four = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => Some(four(g, h)),
        (0x2002, ..) => Some(four(b, c)),
        _ => None,
    }
}

fn in_range_v4(address: Ipv4Addr, range: Ipv4Addr, bits: u8) -> bool {
    let shift = 32 - u32::from(bits.min(32));
    u64::from(u32::from(address)) >> shift == u64::from(u32::from(range)) >> shift
}

fn in_range_v6(address: Ipv6Addr, range: Ipv6Addr, bits: u8) -> bool {
    let shift = 128 - u32::from(bits.min(128));
    u128::from(address).checked_shr(shift).unwrap_or(0) == u128::from(range).checked_shr(shift).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(reach: &Reach, address: &str) -> bool {
        reach.allows(address.parse().unwrap())
    }

    #[test]
    fn only_public_addresses_are_called() {
        let reach = Reach::default();
        for public in ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "64:ff9b::101:101"] {
            assert!(allows(&reach, public), "{public}");
        }
        let special = [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "::127.0.0.1",
        ];
        for special in special {
            assert!(!allows(&reach, special), "{special}");
        }
    }

    #[test]
    fn an_operator_can_allow_ranges() {
        let reach = Reach::new(vec!["10.1.0.0/16".parse().unwrap(), "::1".parse().unwrap()]);
        assert!(allows(&reach, "10.1.255.1") && allows(&reach, "::ffff:10.1.0.1") && allows(&reach, "::1"));
        assert!(!allows(&reach, "10.2.0.1") && !allows(&reach, "127.0.0.1"));
        let all = Reach::new(vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]);
        assert!(allows(&all, "127.0.0.1") && allows(&all, "fe80::1"));
    }

    #[test]
    fn ranges_are_read_and_written_back() {
        for text in ["10.0.0.0/8", "127.0.0.1/32", "fd00::/8"] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
        assert_eq!("10.0.0.1".parse::<Cidr>().unwrap().to_string(), "10.0.0.1/32");
        for wrong in ["", "10.0.0.0/33", "ten", "10.0.0.0/-1", "::/129", "10.0.0.0/8/8"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }
}
