//! The process's own figures, read from `/proc` when somebody asks for `/metrics`.
//!
//! Where there is no `/proc` the figures are absent, as Prometheus expects it.

use std::{fs, time::SystemTime};

use super::names;

/// Clock ticks and page size as Linux reports them to this process.
struct Units {
    ticks_per_second: f64,
    page_bytes: f64,
}

/// Measures and records.
pub(crate) fn measure() {
    let Some(units) = units() else { return };
    if let Some(figures) = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| Figures::parse(&stat)) {
        metrics::counter!(names::PROCESS_CPU).absolute((figures.cpu_ticks / units.ticks_per_second) as u64);
        metrics::gauge!(names::PROCESS_RESIDENT).set(figures.resident_pages * units.page_bytes);
        if let Some(boot) = boot_time_seconds() {
            metrics::gauge!(names::PROCESS_START_TIME).set(boot + figures.start_ticks / units.ticks_per_second);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        metrics::gauge!(names::PROCESS_OPEN_FDS).set(open.count() as f64);
    }
}

#[expect(unsafe_code, reason = "sysconf has no safe wrapper here")]
fn units() -> Option<Units> {
    // SAFETY: sysconf only reads constants of the system.
    let (ticks, page) = unsafe { (libc::sysconf(libc::_SC_CLK_TCK), libc::sysconf(libc::_SC_PAGESIZE)) };
    (ticks > 0 && page > 0).then_some(Units { ticks_per_second: ticks as f64, page_bytes: page as f64 })
}

fn boot_time_seconds() -> Option<f64> {
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split(' ').next()?.parse().ok()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some((now.as_secs_f64() - uptime).round())
}

#[derive(Debug, PartialEq)]
struct Figures {
    cpu_ticks: f64,
    start_ticks: f64,
    resident_pages: f64,
}

impl Figures {
    /// Parses `/proc/self/stat`. The second field is the program's name in parentheses and may hold anything, spaces and `)` included.
    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        // Field n of proc(5) is at n - 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self { cpu_ticks: field(14)? + field(15)?, start_ticks: field(22)?, resident_pages: field(24)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a ) (b) R 1 7 7 0 -1 4194304 90 0 0 0 11 22 0 0 20 0 9 0 4242 1000 333 18446744073709551615";
        assert_eq!(Figures::parse(stat), Some(Figures { cpu_ticks: 33.0, start_ticks: 4242.0, resident_pages: 333.0 }));
        assert_eq!(Figures::parse("garbage"), None);
    }
}
