//! Times and durations as people write them.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use crate::{Millis, Timestamp};

/// Reads `90s`, `1h30m`, `1.5s`, `30d`; `None` if it is not one, or does not fit.
pub(crate) fn parse_duration(text: &str) -> Option<Millis> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 1.0,
            "s" => 1_000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            "d" => 86_400_000.0,
            _ => return None,
        };
        rest = &rest[letters..];
        total += number * unit;
    }
    // A century is beyond every use, and keeps the sum of a time and a duration in range.
    (total.is_finite() && total <= 3_155_760_000_000.0).then_some(Millis(total.round() as u64))
}

/// Reads an RFC 3339 time.
pub(crate) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(text.trim()).ok().map(|time| Timestamp(time.timestamp_millis()))
}

/// Writes an RFC 3339 time in UTC, with milliseconds if there are any.
pub(crate) fn format_timestamp(time: Timestamp) -> String {
    to_chrono(time).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// The nearest time that chrono can show.
pub(super) fn to_chrono(time: Timestamp) -> DateTime<Utc> {
    // CEL's own range is years 1 to 9999; what is outside can't come from a clock.
    DateTime::from_timestamp_millis(time.0.clamp(-62_135_596_800_000, 253_402_300_799_999)).unwrap_or_default()
}

/// Writes a duration so that [`parse_duration`] and CEL's `duration()` read it: seconds with a fraction.
pub(super) fn format_delta(delta: &TimeDelta) -> String {
    let nanos = delta.subsec_nanos().unsigned_abs();
    let sign = if delta.num_seconds() < 0 || delta.subsec_nanos() < 0 { "-" } else { "" };
    let seconds = delta.num_seconds().unsigned_abs();
    if nanos == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{nanos:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_as_people_write_them() {
        for (text, millis) in [("90s", 90_000), ("1h30m", 5_400_000), ("1.5s", 1_500), ("30d", 2_592_000_000), ("250ms", 250), ("0s", 0)] {
            assert_eq!(parse_duration(text), Some(Millis(millis)), "{text}");
        }
        for text in ["", "5", "-1s", "1 h", "1y", "s", "1e9999s", "99999999d", "..s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn times_survive_a_round_trip() {
        for millis in [0, 1, 1_700_000_000_123, -1] {
            assert_eq!(parse_timestamp(&format_timestamp(Timestamp(millis))), Some(Timestamp(millis)));
        }
        assert_eq!(parse_timestamp("2026-01-01"), None);
        assert_eq!(format_timestamp(Timestamp(i64::MAX)), "9999-12-31T23:59:59.999Z");
    }
}
