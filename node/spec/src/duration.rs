//! Durations as people write them: `250ms`, `30s`, `1h30m`, `30d`, `1.5s`.
//!
//! Units are days, hours, minutes, seconds and milliseconds, largest first, each at most once. Months and years have no fixed length and
//! are refused; so are bare numbers, because nobody can see their unit.

use prost_types::Duration;

const NANOS_PER_SECOND: u128 = 1_000_000_000;
/// Unit and nanoseconds, largest first.
const UNITS: [(&str, u128); 5] = [
    ("d", 86_400 * NANOS_PER_SECOND),
    ("h", 3_600 * NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("s", NANOS_PER_SECOND),
    ("ms", 1_000_000),
];
/// What the wire format allows: about 10,000 years.
const SECONDS_MAX: u128 = 315_576_000_000;
const USUAL: &str = "write for example `30s`, `5m`, `1h30m`, `250ms` or `30d`";

/// Why a text is no duration, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct DurationError {
    /// A sentence for people.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
}

/// Reads a duration.
///
/// ```
/// let duration = quorus_spec::parse_duration("1h30m").unwrap();
/// assert_eq!(duration.seconds, 5400);
/// assert_eq!(quorus_spec::format_duration(&duration), "1h30m");
/// assert!(quorus_spec::parse_duration("1month").unwrap_err().hint.contains("30d"));
/// ```
///
/// # Errors
/// Says what is wrong with the text, and what to write instead.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let fail = |reason: String, hint: &str| Err(DurationError { reason, hint: hint.into() });
    let mut rest = text.trim();
    if rest.is_empty() {
        return fail("a duration can't be empty".into(), USUAL);
    }
    if rest.starts_with('-') {
        return fail(format!("`{rest}` is negative"), "durations count forward");
    }
    if rest.starts_with('P') {
        return fail(format!("`{rest}` is in the ISO 8601 form"), USUAL);
    }
    if rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return fail(format!("`{rest}` has no unit"), &format!("write `{rest}s` for seconds, `{rest}m` for minutes"));
    }
    let (mut total, mut previous) = (0u128, None);
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_end);
        let tail = tail.trim_start();
        let unit_end = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        rest = tail.trim_start();
        let Some(rank) = UNITS.iter().position(|(name, _)| *name == unit) else {
            return fail(unknown_unit(text, unit), unit_hint(unit));
        };
        if previous.is_some_and(|previous| previous >= rank) {
            return fail(format!("`{text}` does not go from large units to small ones"), USUAL);
        }
        previous = Some(rank);
        let Some(nanos) = scaled(number, UNITS[rank].1) else {
            return fail(format!("`{text}` has no number before `{unit}`, or one that is too precise or too large"), USUAL);
        };
        total += nanos;
    }
    if total > SECONDS_MAX * NANOS_PER_SECOND {
        return fail(format!("`{text}` is longer than 10,000 years"), "leave a timeout out to have none");
    }
    let (seconds, nanos) = (total / NANOS_PER_SECOND, total % NANOS_PER_SECOND);
    // Both are in range by the check above.
    Ok(Duration { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanos: i32::try_from(nanos).unwrap_or(0) })
}

/// `number` times `unit`, exactly; `None` if that is not a whole number of nanoseconds.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() > 15 || fraction.len() > 18 || whole.is_empty() || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? } * unit;
    fraction.is_multiple_of(scale).then_some(())?;
    Some(whole.parse::<u128>().ok()? * unit + fraction / scale)
}

fn unknown_unit(text: &str, unit: &str) -> String {
    if unit.is_empty() { format!("`{text}` is not a duration") } else { format!("`{text}`: there is no unit `{unit}`") }
}

fn unit_hint(unit: &str) -> &'static str {
    match unit.to_lowercase().trim_end_matches('s') {
        "mo" | "month" | "mon" => "months differ in length; write days, for example `30d`",
        "y" | "yr" | "year" => "years differ in length; write days, for example `365d`",
        "w" | "wk" | "week" => "write days, for example `7d`",
        "day" => "write `d` for days",
        "hr" | "hour" | "h" => "write `h` for hours",
        "min" | "minute" | "m" => "write `m` for minutes, `ms` for milliseconds",
        "sec" | "second" | "" if !unit.is_empty() => "write `s` for seconds",
        "milli" | "msec" | "millisecond" => "write `ms` for milliseconds",
        _ => USUAL,
    }
}

/// The shortest text that [`parse_duration`] reads as the same duration. A negative duration, which no definition can hold, gets a sign.
pub fn format_duration(duration: &Duration) -> String {
    let total = i128::from(duration.seconds) * 1_000_000_000 + i128::from(duration.nanos);
    let (sign, mut rest) = (if total < 0 { "-" } else { "" }, total.unsigned_abs());
    if rest == 0 {
        return "0s".into();
    }
    if rest < NANOS_PER_SECOND && rest.is_multiple_of(1_000_000) {
        return format!("{sign}{}ms", rest / 1_000_000);
    }
    let mut text = sign.to_owned();
    for (unit, nanos) in &UNITS[..3] {
        if rest >= *nanos {
            text.push_str(&format!("{}{unit}", rest / nanos));
            rest %= nanos;
        }
    }
    let (seconds, nanos) = (rest / NANOS_PER_SECOND, rest % NANOS_PER_SECOND);
    if nanos > 0 {
        let fraction = format!("{nanos:09}");
        text.push_str(&format!("{seconds}.{}s", fraction.trim_end_matches('0')));
    } else if seconds > 0 {
        text.push_str(&format!("{seconds}s"));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_usual_forms_are_read() {
        for (text, seconds, nanos) in [
            ("30s", 30, 0),
            ("5m", 300, 0),
            ("1h30m", 5400, 0),
            ("30d", 2_592_000, 0),
            ("250ms", 0, 250_000_000),
            ("1.5s", 1, 500_000_000),
            ("0.5h", 1800, 0),
            ("1h 30m", 5400, 0),
            ("1s500ms", 1, 500_000_000),
            ("0s", 0, 0),
        ] {
            assert_eq!(parse_duration(text).unwrap(), Duration { seconds, nanos }, "{text}");
        }
    }

    #[test]
    fn what_is_ambiguous_or_wrong_is_refused_with_a_hint() {
        for (text, hint) in [
            ("", "30s"),
            ("30", "30s"),
            ("1month", "30d"),
            ("2mo", "30d"),
            ("1y", "365d"),
            ("2weeks", "7d"),
            ("PT30S", "30s"),
            ("-5s", "forward"),
            ("10 minutes", "`m`"),
            ("5M", "`m`"),
            ("30m1h", "1h30m"),
            ("1s1s", "1h30m"),
            ("s", "30s"),
            ("1.s", "30s"),
            ("soon", "30s"),
            ("0.0000000001s", "30s"),
            ("400000000000s", "leave"),
            ("9999999999999999d", "30s"),
            ("1ü", "30s"),
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.hint.contains(hint), "{text}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(seconds in 0i64..=315_576_000_000, nanos in 0i32..1_000_000_000) {
            let nanos = if seconds == 315_576_000_000 { 0 } else { nanos };
            let duration = Duration { seconds, nanos };
            prop_assert_eq!(parse_duration(&format_duration(&duration)).unwrap(), duration);
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = parse_duration(&text);
        }
    }
}
