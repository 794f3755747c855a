//! Which nominal times a schedule has. Pure: no clock, only the calendar and the time zones that this version of the program knows.
//!
//! **Daylight saving time**, for `cron` in a time zone that has it. A pattern that names one second, minute and hour (`30 2 * * *`) fires once a day:
//! when the clock jumps over that time, at the first moment after the gap; when the clock repeats it, at the first of the two. Any other pattern
//! (`*/15 * * * *`, `0 1-4 * * *`) follows the clock: times in the gap don't exist, repeated times fire twice, so that a job per quarter of an hour
//! comes every fifteen minutes of real time. These are the rules of Vixie cron. `every` and `at` know nothing of time zones.

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use quorus_engine::Timestamp;

/// Which nominal times there are. All are whole seconds.
#[derive(Clone, Debug)]
pub(crate) struct Timing {
    pub(crate) when: When,
    pub(crate) zone: Tz,
    /// None before this one.
    pub(crate) not_before: Option<Timestamp>,
    /// None after this one.
    pub(crate) not_after: Option<Timestamp>,
}

/// The rule.
#[derive(Clone, Debug)]
pub(crate) enum When {
    /// A pattern in the time zone.
    Cron(Box<Cron>),
    /// So many milliseconds after one another; both are whole seconds, and the offset is less than the period.
    Every { period: i64, offset: i64 },
    /// Once.
    At(Timestamp),
}

/// Reads a cron pattern of five or six fields.
pub(crate) fn parse_cron(pattern: &str) -> Result<Cron, String> {
    let fields = pattern.split_whitespace().count();
    if !pattern.trim_start().starts_with('@') && !(5..=6).contains(&fields) {
        return Err(format!(
            "has {fields} fields, expected 5 (minute, hour, day of month, month, day of week), or 6 with seconds before them"
        ));
    }
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    parser.parse(pattern).map_err(|error| format!("is not a cron pattern: {error}"))
}

impl Timing {
    /// The first nominal time after an instant.
    pub(crate) fn after(&self, instant: Timestamp) -> Option<Timestamp> {
        let from = match self.not_before {
            Some(bound) if bound > instant => Timestamp(bound.0 - 1),
            _ => instant,
        };
        let next = match &self.when {
            When::At(time) => (*time > from).then_some(*time),
            When::Every { period, offset } => {
                let passed = (from.0 - offset).div_euclid(*period) + 1;
                Some(Timestamp(passed.checked_mul(*period)?.checked_add(*offset)?))
            }
            When::Cron(cron) => {
                // The search begins with the second after its start.
                let start = self.zone.timestamp_opt(from.0.div_euclid(1000), 0).single()?;
                let next = cron.find_next_occurrence(&start, false).ok()?;
                Some(Timestamp(next.timestamp() * 1000))
            }
        }?;
        (self.not_after.is_none_or(|bound| next <= bound)).then_some(next)
    }

    /// The last nominal time of (`after`, `until`] and how many there are; stops counting at `max`. `None` if there is none.
    pub(crate) fn span(&self, after: Timestamp, until: Timestamp, max: u64) -> Option<(Timestamp, u64)> {
        let first = self.after(after).filter(|first| *first <= until)?;
        if let When::Every { period, .. } = self.when {
            let end = self.not_after.map_or(until, |bound| bound.min(until));
            let more = (end.0 - first.0).div_euclid(period);
            return Some((Timestamp(first.0 + more * period), u64::try_from(more).unwrap_or(0) + 1));
        }
        let (mut last, mut count) = (first, 1);
        while count < max
            && let Some(next) = self.after(last).filter(|next| *next <= until)
        {
            (last, count) = (next, count + 1);
        }
        Some((last, count))
    }

    /// A time in the schedule's time zone, with its offset.
    pub(crate) fn local(&self, time: Timestamp) -> String {
        let utc = utc(time);
        utc.with_timezone(&self.zone).to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }
}

/// An RFC 3339 time in UTC.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    utc(time).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A time as part of an id: `20261124T020000Z`.
pub(crate) fn stamp(time: Timestamp) -> String {
    utc(time).format("%Y%m%dT%H%M%SZ").to_string()
}

/// Reads an RFC 3339 time, cut to whole seconds.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| Timestamp(time.timestamp() * 1000))
}

fn utc(time: Timestamp) -> DateTime<Utc> {
    // Times come from this module or were checked by it; what is out of range is shown as the epoch.
    Utc.timestamp_millis_opt(time.0).single().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        parse_time(text).unwrap()
    }

    fn cron(pattern: &str, zone: &str) -> Timing {
        let when = When::Cron(parse_cron(pattern).unwrap().into());
        Timing { when, zone: zone.parse().unwrap(), not_before: None, not_after: None }
    }

    fn next(timing: &Timing, after: &str, count: usize) -> Vec<String> {
        let first = timing.after(at(after));
        std::iter::successors(first, |time| timing.after(*time)).take(count).map(|time| timing.local(time)).collect()
    }

    #[test]
    fn patterns_have_five_or_six_fields() {
        assert_eq!(next(&cron("30 2 * * *", "UTC"), "2026-11-24T02:30:00Z", 2), ["2026-11-25T02:30:00Z", "2026-11-26T02:30:00Z"]);
        assert_eq!(next(&cron("*/20 * * * * *", "UTC"), "2026-11-24T00:00:10Z", 2), ["2026-11-24T00:00:20Z", "2026-11-24T00:00:40Z"]);
        assert_eq!(next(&cron("@daily", "UTC"), "2026-11-24T00:00:00Z", 1), ["2026-11-25T00:00:00Z"]);
        assert!(parse_cron("* * *").unwrap_err().contains("has 3 fields"));
        assert!(parse_cron("0 0 * * * * 2026").unwrap_err().contains("has 7 fields"));
        assert!(parse_cron("61 * * * *").is_err());
    }

    #[test]
    fn a_pattern_that_never_matches_has_no_time() {
        assert_eq!(cron("0 0 30 2 *", "UTC").after(at("2026-11-24T00:00:00Z")), None);
        let ended = Timing { not_after: Some(at("2026-01-01T00:00:00Z")), ..cron("* * * * *", "UTC") };
        assert_eq!(ended.after(at("2026-11-24T00:00:00Z")), None);
    }

    #[test]
    fn a_fixed_time_in_the_gap_fires_once_after_it() {
        // Berlin goes from 02:00 to 03:00 on 2026-03-29.
        let times = next(&cron("30 2 * * *", "Europe/Berlin"), "2026-03-28T12:00:00Z", 2);
        assert_eq!(times, ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]);
    }

    #[test]
    fn a_fixed_time_that_is_repeated_fires_once() {
        // Berlin goes from 03:00 back to 02:00 on 2026-10-25.
        let times = next(&cron("30 2 * * *", "Europe/Berlin"), "2026-10-24T12:00:00Z", 2);
        assert_eq!(times, ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]);
        let between = next(&cron("30 2 * * *", "Europe/Berlin"), "2026-10-25T00:45:00Z", 1);
        assert_eq!(between, ["2026-10-26T02:30:00+01:00"], "also for who asks between the two");
    }

    #[test]
    fn patterns_with_steps_follow_real_time() {
        let forward = next(&cron("*/30 * * * *", "Europe/Berlin"), "2026-03-29T00:15:00Z", 3);
        assert_eq!(forward, ["2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"]);
        let back = next(&cron("*/30 * * * *", "Europe/Berlin"), "2026-10-25T00:15:00Z", 4);
        assert_eq!(
            back,
            ["2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:00:00+01:00"]
        );
    }

    #[test]
    fn intervals_count_from_the_epoch_and_their_offset() {
        let every = Timing { when: When::Every { period: 900_000, offset: 60_000 }, zone: Tz::UTC, not_before: None, not_after: None };
        assert_eq!(next(&every, "2026-11-24T00:01:00Z", 2), ["2026-11-24T00:16:00Z", "2026-11-24T00:31:00Z"]);
        assert_eq!(every.after(Timestamp(-1_000_000)), Some(Timestamp(-840_000)));
        let span = every.span(at("2026-11-24T00:00:00Z"), at("2026-11-25T00:00:00Z"), 3);
        assert_eq!(span, Some((at("2026-11-24T23:46:00Z"), 96)));
    }

    #[test]
    fn a_single_time_comes_once_and_bounds_are_kept() {
        let time = at("2026-11-24T10:00:00Z");
        let once = Timing { when: When::At(time), zone: Tz::UTC, not_before: None, not_after: None };
        assert_eq!(once.after(Timestamp(time.0 - 1)), Some(time));
        assert_eq!(once.after(time), None);
        let bounded = Timing {
            not_before: Some(at("2026-11-24T10:00:00Z")),
            not_after: Some(at("2026-11-24T12:00:00Z")),
            ..cron("0 * * * *", "UTC")
        };
        assert_eq!(next(&bounded, "2026-11-01T00:00:00Z", 9).len(), 3);
        assert_eq!(bounded.span(at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z"), 100), Some((at("2026-11-24T12:00:00Z"), 3)));
    }
}
