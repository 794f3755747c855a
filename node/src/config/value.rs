//! Texts to values and back: durations, addresses, peers.
//!
//! Every parser answers a mistake with a sentence that ends in an example, since that is what its reader needs next.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use crate::executors::Cidr;

/// Parses a friendly duration: `30s`, `500ms`, `1h 30m`, `2d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a duration; write for example 30s, 500ms or 1h 30m");
    let mut rest = text.trim();
    let mut total_ms: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit_ms = match &rest[..letters] {
            "ms" => 1,
            "s" | "sec" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" => return Err(format!("'{text}' has no unit; write for example {number}s or {number}ms")),
            _ => return Err(wrong()),
        };
        total_ms = number.checked_mul(unit_ms).and_then(|ms| total_ms.checked_add(ms)).ok_or_else(wrong)?;
        rest = rest[letters..].trim_start();
    }
    Ok(Duration::from_millis(total_ms))
}

/// Writes a duration so that [`duration`] reads it back, in the largest units that fit.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut words = Vec::new();
    for (unit_ms, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")] {
        if rest >= unit_ms {
            words.push(format!("{}{unit}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    if words.is_empty() { "0s".to_owned() } else { words.join(" ") }
}

/// Parses ranges of addresses, separated by commas; none is fine.
pub fn cidrs(text: &str) -> Result<Vec<Cidr>, String> {
    text.split(',').map(str::trim).filter(|range| !range.is_empty()).map(str::parse).collect()
}

/// Parses an IP address with a port.
pub fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("'{text}' is not an IP address with a port; write for example 0.0.0.0:7401 or [::]:7401"))
}

/// Checks a host name or IP address with a port.
pub fn host_port(text: &str) -> Result<String, String> {
    let wrong = || format!("'{text}' is not a host with a port; write for example node-1.example.org:7401");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    let plain = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    let port: u16 = port.parse().map_err(|_| wrong())?;
    if port > 0 && (bracketed || plain) { Ok(text.to_owned()) } else { Err(wrong()) }
}

/// Parses `1=host:port,2=host:port`.
pub fn peers(text: &str) -> Result<BTreeMap<u64, String>, String> {
    let mut peers = BTreeMap::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (id, address) =
            entry.split_once('=').ok_or_else(|| format!("'{entry}' is not a peer; write for example 1=node-1.example.org:7401"))?;
        let id =
            id.trim().parse().ok().filter(|id| *id > 0).ok_or_else(|| format!("'{}' is not a node id: a number from 1 on", id.trim()))?;
        let address = host_port(address.trim())?;
        if let Some(other) = peers.iter().find_map(|(other, taken)| (*taken == address).then_some(*other)) {
            return Err(format!("peers {other} and {id} have the same address {address}"));
        }
        if peers.insert(id, address).is_some() {
            return Err(format!("peer {id} is named twice"));
        }
    }
    if peers.is_empty() { Err("no peer is named; write for example 1=node-1.example.org:7401".to_owned()) } else { Ok(peers) }
}

/// Writes peers so that [`peers`] reads them back.
pub fn format_peers(peers: &BTreeMap<u64, String>) -> String {
    peers.iter().map(|(id, address)| format!("{id}={address}")).collect::<Vec<_>>().join(",")
}
