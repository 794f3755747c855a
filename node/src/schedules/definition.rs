//! A schedule's definition: checked, then compiled to what deciding and starting need.

use bytes::Bytes;
use prost::Message;
use quorus_engine::{FormulaTemplate, Timestamp};
use quorus_proto::v1::{OverlapPolicy, RunTemplate, Schedule, ScheduleSpec, schedule_spec};
use quorus_spec::Problem;
use sha2::{Digest, Sha256};

use super::timing::{Timing, When, parse_cron, parse_time};
use crate::resource::{self, millis, missing};

/// What a schedule says it is.
pub(crate) const KIND: &str = "Schedule";
/// What expressions of a schedule read.
const ROOTS: &[&str] = &["schedule"];

const SECOND: i64 = 1000;
const HOUR: i64 = 3600 * SECOND;
const CATCH_UP_DEFAULT: i64 = HOUR;
/// Shorter ones would lose firings in an ordinary change of leader.
const CATCH_UP_MIN: i64 = 10 * SECOND;
const JITTER_MAX: i64 = 24 * HOUR;

/// A compiled definition.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) timing: Timing,
    pub(crate) overlap: OverlapPolicy,
    /// Milliseconds.
    pub(crate) catch_up_window: i64,
    /// Milliseconds.
    pub(crate) jitter: i64,
    pub(crate) run: RunTemplate,
    pub(crate) input: Option<FormulaTemplate>,
}

impl Definition {
    /// The delay of a nominal time: a function of both, so that every leader computes the same.
    pub(crate) fn jitter_of(&self, uid: u64, nominal: Timestamp) -> i64 {
        if self.jitter == 0 {
            return 0;
        }
        let mut hash = Sha256::new();
        hash.update(uid.to_be_bytes());
        hash.update(nominal.0.to_be_bytes());
        let digest = hash.finalize();
        let number = digest.iter().take(7).fold(0_i64, |number, byte| number << 8 | i64::from(*byte));
        number % (self.jitter + 1)
    }
}

/// The definition's canonical bytes and their SHA-256.
pub(crate) fn canonical(schedule: &Schedule) -> (Bytes, Bytes) {
    let mut schedule = schedule.clone();
    if let Some(input) = schedule.spec.as_mut().and_then(|spec| spec.run.as_mut()).and_then(|run| run.input.as_mut()) {
        resource::sort_template(input);
    }
    resource::encode(&schedule)
}

/// Reads a stored definition. What is stored was checked; a program that knows less than the one which checked it may not understand it.
pub(crate) fn decode(bytes: Bytes) -> Result<(Schedule, Definition), String> {
    let schedule = Schedule::decode(bytes).map_err(|error| error.to_string())?;
    match compile(&schedule) {
        Ok(definition) => Ok((schedule, definition)),
        Err(problems) => Err(problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ")),
    }
}

/// Checks a definition and compiles it.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn compile(schedule: &Schedule) -> Result<Definition, Vec<Problem>> {
    let mut problems = resource::check_header(&schedule.api_version, &schedule.kind, KIND, schedule.metadata.as_ref());
    let Some(spec) = &schedule.spec else {
        problems.push(missing("spec", "add `spec: {cron: ..., run: {workflow: ...}}`"));
        return Err(problems);
    };
    let mut compiler = Compiler { problems };
    let timing = compiler.timing(spec);
    let jitter = compiler.duration("spec.jitter", spec.jitter.as_ref(), 0, 0..=JITTER_MAX, "at most 24h");
    let catch_up = "between 10s and 10 years";
    let catch_up_window =
        compiler.duration("spec.catch_up_window", spec.catch_up_window.as_ref(), CATCH_UP_DEFAULT, CATCH_UP_MIN..=i64::MAX, catch_up);
    let overlap = compiler.overlap(spec.overlap);
    let (run, input) = compiler.run(spec.run.as_ref());
    match (timing, compiler.problems.is_empty()) {
        (Some(timing), true) => Ok(Definition { timing, overlap, catch_up_window, jitter, run, input }),
        _ => Err(compiler.problems),
    }
}

/// What is wrong with a definition that will never fire.
pub(crate) fn never_fires(schedule: &Schedule, definition: &Definition, now: Timestamp) -> Option<Problem> {
    if definition.timing.after(now).is_some() {
        return None;
    }
    let when = schedule.spec.as_ref().and_then(|spec| spec.when.as_ref());
    let bounded = definition.timing.not_after.is_some();
    Some(match when {
        Some(schedule_spec::When::At(time)) => {
            Problem::error("spec.at", "never-fires", format!("`{time}` is over, so the schedule would never fire"))
                .with_hint("give a time that is to come, or start a run now with `quorus start`")
        }
        Some(schedule_spec::When::Cron(pattern)) if !bounded => Problem::error(
            "spec.cron",
            "never-fires",
            format!("no day of the calendar matches `{pattern}`, so the schedule would never fire"),
        )
        .with_hint("check the day of month against the month: `0 0 30 2 *` asks for the 30th of February"),
        _ => Problem::error("spec.not_after", "never-fires", "no time comes before `not_after`, so the schedule would never fire")
            .with_hint("move `not_after`, or leave it out"),
    })
}

struct Compiler {
    problems: Vec<Problem>,
}

impl Compiler {
    fn error(&mut self, path: &str, code: &'static str, message: String, hint: &str) {
        self.problems.push(Problem::error(path, code, message).with_hint(hint));
    }

    fn timing(&mut self, spec: &ScheduleSpec) -> Option<Timing> {
        let zone = self.zone(&spec.time_zone);
        let not_before = self.time("spec.not_before", &spec.not_before);
        let not_after = self.time("spec.not_after", &spec.not_after);
        if let (Some(first), Some(last)) = (not_before, not_after)
            && first > last
        {
            self.error("spec.not_after", "bad-range", "`not_after` is before `not_before`".to_owned(), "swap them");
        }
        let when = match &spec.when {
            None => {
                self.problems
                    .push(missing("spec.cron", "say when it fires: `cron: \"0 2 * * *\"`, `every: 15m` or `at: 2026-12-24T18:00:00Z`"));
                None
            }
            Some(schedule_spec::When::Cron(pattern)) => match parse_cron(pattern) {
                Ok(cron) => Some(When::Cron(cron.into())),
                Err(why) => {
                    self.error("spec.cron", "bad-cron", format!("`{pattern}` {why}"), "for example `0 2 * * *`: every day at 02:00");
                    None
                }
            },
            Some(schedule_spec::When::Every(period)) => {
                let whole = |path: &str, duration: &prost_types::Duration, problems: &mut Vec<Problem>| {
                    let value = millis(duration).filter(|value| value % SECOND == 0);
                    if value.is_none() {
                        problems.push(Problem::error(path, "bad-duration", format!("`{path}` must be whole seconds, at most 10 years")));
                    }
                    value
                };
                let period = whole("spec.every", period, &mut self.problems);
                let offset = spec.offset.as_ref().map_or(Some(0), |offset| whole("spec.offset", offset, &mut self.problems));
                match (period, offset) {
                    (Some(0), _) => {
                        self.error(
                            "spec.every",
                            "bad-duration",
                            "`every` must be at least 1s".to_owned(),
                            "write for example `every: 15m`",
                        );
                        None
                    }
                    (Some(period), Some(offset)) if offset >= period => {
                        self.error("spec.offset", "bad-duration", "`offset` must be less than `every`".to_owned(), "it shifts all times");
                        None
                    }
                    (Some(period), Some(offset)) => Some(When::Every { period, offset }),
                    _ => None,
                }
            }
            Some(schedule_spec::When::At(text)) => self.time("spec.at", text).map(When::At),
        };
        if spec.offset.is_some() && !matches!(spec.when, Some(schedule_spec::When::Every(_))) {
            self.error("spec.offset", "unused-field", "`offset` is only for `every`".to_owned(), "remove it");
        }
        if !spec.time_zone.is_empty() && !matches!(spec.when, Some(schedule_spec::When::Cron(_)) | None) {
            self.error("spec.time_zone", "unused-field", "`time_zone` is only for `cron`".to_owned(), "remove it");
        }
        Some(Timing { when: when?, zone: zone?, not_before, not_after })
    }

    fn zone(&mut self, name: &str) -> Option<chrono_tz::Tz> {
        if name.is_empty() {
            return Some(chrono_tz::Tz::UTC);
        }
        if let Ok(zone) = name.parse() {
            return Some(zone);
        }
        let close = |zone: &chrono_tz::Tz| strsim::osa_distance(&zone.name().to_lowercase(), &name.to_lowercase());
        let nearest = chrono_tz::TZ_VARIANTS.iter().map(|zone| (close(zone), zone.name())).min().filter(|(distance, _)| *distance <= 4);
        let hint = match nearest {
            Some((_, name)) => format!("did you mean `{name}`?"),
            None => "write an IANA name such as `Europe/Berlin` or `America/New_York`".to_owned(),
        };
        self.error("spec.time_zone", "unknown-time-zone", format!("there is no time zone `{name}`"), &hint);
        None
    }

    fn time(&mut self, path: &str, text: &str) -> Option<Timestamp> {
        if text.is_empty() && path != "spec.at" {
            return None;
        }
        let time = parse_time(text);
        if time.is_none() {
            let message = format!("`{text}` is not a time as RFC 3339 has it");
            self.error(path, "bad-time", message, "write for example `2026-12-24T18:00:00Z` or `2026-12-24T18:00:00+01:00`");
        }
        time
    }

    fn duration(
        &mut self,
        path: &str,
        duration: Option<&prost_types::Duration>,
        default: i64,
        range: std::ops::RangeInclusive<i64>,
        expected: &str,
    ) -> i64 {
        let Some(duration) = duration else { return default };
        millis(duration).filter(|value| range.contains(value)).unwrap_or_else(|| {
            self.problems.push(Problem::error(path, "bad-duration", format!("`{path}` must be {expected}")));
            default
        })
    }

    fn overlap(&mut self, policy: i32) -> OverlapPolicy {
        match OverlapPolicy::try_from(policy) {
            Ok(OverlapPolicy::Unspecified) => OverlapPolicy::Skip,
            Ok(policy) => policy,
            Err(_) => {
                self.error(
                    "spec.overlap",
                    "unknown-value",
                    format!("{policy} is no policy"),
                    "one of: `skip`, `buffer_one`, `allow`, `cancel_other`, `terminate_other`",
                );
                OverlapPolicy::Skip
            }
        }
    }

    fn run(&mut self, run: Option<&RunTemplate>) -> (RunTemplate, Option<FormulaTemplate>) {
        let Some(run) = run else {
            self.problems.push(missing("spec.run", "add `run: {workflow: NAME}`"));
            return (RunTemplate::default(), None);
        };
        if run.workflow.is_empty() {
            self.problems.push(missing("spec.run.workflow", "name the workflow that it starts"));
        }
        self.problems.extend(resource::check_labels("spec.run.labels", run.labels.keys()));
        let input = run.input.as_ref().and_then(|template| {
            let value = resource::template_value("spec.run.input", template).map_err(|problem| vec![problem]);
            let compiled = value.and_then(|value| {
                FormulaTemplate::compile(&value, ROOTS)
                    .map_err(|problems| problems.into_iter().map(|problem| resource::at("spec.run.input", problem)).collect())
            });
            compiled.map_err(|problems: Vec<Problem>| self.problems.extend(problems)).ok()
        });
        (run.clone(), input)
    }
}
