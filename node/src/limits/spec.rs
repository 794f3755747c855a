//! What a limit is.

use quorus_engine::Millis;
use quorus_proto::v1::{self, limit_spec::Target};

use super::KeyTemplate;
use crate::codec::CodecError;

/// A limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitSpec {
    /// Unique in the cluster.
    pub name: String,
    /// Whose attempts it bounds beside those of the steps that refer to it.
    pub target: LimitTarget,
    /// Each value of this text with `${...}` has a limit of its own; empty: one for all. See [`KeyTemplate`].
    pub key: String,
    /// How often attempts may begin.
    pub rate: Option<RateSpec>,
    /// How many attempts may be under way at a time.
    pub concurrency: Option<u32>,
    /// Stops attempts for a while when they keep failing.
    pub breaker: Option<BreakerSpec>,
    /// What a task does that finds no room.
    pub on_exceeded: OnExceeded,
    /// For people.
    pub description: String,
}

/// Whose attempts a limit bounds beside those of the steps that refer to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LimitTarget {
    /// Nobody's.
    #[default]
    Named,
    /// Those of a task type.
    TaskType(String),
    /// Those of http steps that call a host.
    Host(String),
}

/// How often attempts may begin: a bucket of `burst` tokens that fills with `count` tokens `per` time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateSpec {
    /// So many attempts, at least 1.
    pub count: u32,
    /// In this time, at least 1 ms.
    pub per: Millis,
    /// So many may begin at once after a quiet time, at least 1.
    pub burst: u32,
}

/// When attempts are stopped, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerSpec {
    /// Opens when so many failed within the window; 0: not by number.
    pub failures: u32,
    /// Opens when this part of those within the window failed; 0: not by ratio.
    pub ratio: f64,
    /// The time looked at.
    pub window: Millis,
    /// How long it stays open.
    pub open_for: Millis,
    /// How many probes must succeed in a row, and how many may be under way at a time. At least 1.
    pub probes: u32,
}

/// What a task does that finds no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExceeded {
    /// Wait.
    #[default]
    Wait,
    /// Fail.
    Fail,
}

impl BreakerSpec {
    /// Default of `window`.
    pub const WINDOW: Millis = Millis(60_000);
    /// Default of `open_for`.
    pub const OPEN_FOR: Millis = Millis(30_000);
    /// A ratio counts from so many attempts on: one failure of one attempt is no pattern.
    pub const RATIO_FROM: usize = 10;
}

impl LimitSpec {
    /// Everything that is wrong with a limit of the API: (field, what is wrong with it).
    pub fn problems(proto: &v1::Limit) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut must = |ok: bool, field: &str, what: &str| {
            if !ok {
                problems.push((field.to_owned(), what.to_owned()));
            }
        };
        let spec = proto.spec.clone().unwrap_or_default();
        let name = proto.metadata.as_ref().map_or("", |metadata| metadata.name.as_str());
        must(crate::api::is_name(name), "metadata.name", "must have 1 to 200 letters, digits, `.`, `_`, `-` or `:`");
        let bounds = spec.rate.is_some() || spec.concurrency > 0 || spec.breaker.is_some();
        must(bounds, "spec", "one of rate, concurrency and breaker is needed: else nothing is limited");
        must(spec.budget.is_none(), "spec.budget", "is not supported on a limit yet; a workflow may have a budget");
        if let Err(problem) = KeyTemplate::parse(&spec.key) {
            must(false, "spec.key", &problem);
        }
        if let Some(rate) = &spec.rate {
            must(rate.count > 0, "spec.rate.count", "must be at least 1");
            must(rate.per.is_none() || millis(rate.per).is_some_and(|per| per.0 > 0), "spec.rate.per", "must be at least 1 ms");
        }
        if let Some(breaker) = &spec.breaker {
            must((0.0..=1.0).contains(&breaker.ratio), "spec.breaker.ratio", "must be between 0 and 1");
            let opens = breaker.failures > 0 || breaker.ratio > 0.0;
            must(opens, "spec.breaker.failures", "or breaker.ratio is needed: else it never opens");
            must(breaker.window.is_none() || millis(breaker.window).is_some(), "spec.breaker.window", "can't be negative");
            must(breaker.open_for.is_none() || millis(breaker.open_for).is_some(), "spec.breaker.open_for", "can't be negative");
        }
        must(v1::OnLimit::try_from(spec.on_exceeded).is_ok(), "spec.on_exceeded", "is not one that this version knows");
        problems
    }

    /// As it is stored and shown.
    pub fn to_proto(&self) -> v1::Limit {
        let target = match &self.target {
            LimitTarget::Named => None,
            LimitTarget::TaskType(task_type) => Some(Target::TaskType(task_type.clone())),
            LimitTarget::Host(host) => Some(Target::Host(host.clone())),
        };
        let spec = v1::LimitSpec {
            target,
            key: self.key.clone(),
            rate: self.rate.map(|rate| v1::Rate { count: rate.count, per: Some(duration(rate.per)), burst: rate.burst }),
            concurrency: self.concurrency.unwrap_or(0),
            breaker: self.breaker.map(|breaker| v1::Breaker {
                failures: breaker.failures,
                ratio: breaker.ratio,
                window: Some(duration(breaker.window)),
                open_for: Some(duration(breaker.open_for)),
                probes: breaker.probes,
            }),
            on_exceeded: match self.on_exceeded {
                OnExceeded::Wait => v1::OnLimit::Wait,
                OnExceeded::Fail => v1::OnLimit::Fail,
            }
            .into(),
            budget: None,
        };
        v1::Limit {
            api_version: "quorus/v1".to_owned(),
            kind: "Limit".to_owned(),
            metadata: Some(v1::Metadata { name: self.name.clone(), description: self.description.clone(), ..v1::Metadata::default() }),
            spec: Some(spec),
        }
    }

    /// The limit of a message, with defaults filled in.
    ///
    /// # Errors
    /// If it has a value that this version does not know.
    pub fn from_proto(proto: v1::Limit) -> Result<Self, CodecError> {
        let metadata = proto.metadata.unwrap_or_default();
        let spec = proto.spec.unwrap_or_default();
        let on_exceeded = match v1::OnLimit::try_from(spec.on_exceeded) {
            Ok(v1::OnLimit::Unspecified | v1::OnLimit::Wait) => OnExceeded::Wait,
            Ok(v1::OnLimit::Fail) => OnExceeded::Fail,
            Err(_) => return Err(CodecError::UnknownValue { what: "limit", value: spec.on_exceeded }),
        };
        let target = match spec.target {
            None => LimitTarget::Named,
            Some(Target::TaskType(task_type)) => LimitTarget::TaskType(task_type),
            Some(Target::Host(host)) => LimitTarget::Host(host),
        };
        Ok(Self {
            name: metadata.name,
            target,
            key: spec.key,
            rate: spec.rate.map(|rate| RateSpec {
                count: rate.count.max(1),
                per: millis(rate.per).filter(|per| per.0 > 0).unwrap_or(Millis(1_000)),
                burst: if rate.burst == 0 { rate.count.max(1) } else { rate.burst },
            }),
            concurrency: Some(spec.concurrency).filter(|most| *most > 0),
            breaker: spec.breaker.map(|breaker| BreakerSpec {
                failures: breaker.failures,
                ratio: breaker.ratio,
                window: millis(breaker.window).unwrap_or(BreakerSpec::WINDOW),
                open_for: millis(breaker.open_for).unwrap_or(BreakerSpec::OPEN_FOR),
                probes: breaker.probes.max(1),
            }),
            on_exceeded,
            description: metadata.description,
        })
    }
}

fn millis(duration: Option<prost_types::Duration>) -> Option<Millis> {
    let duration = std::time::Duration::try_from(duration?).ok()?;
    u64::try_from(duration.as_millis()).ok().map(Millis)
}

fn duration(millis: Millis) -> prost_types::Duration {
    let seconds = i64::try_from(millis.0 / 1000).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: i32::try_from(millis.0 % 1000).unwrap_or(0) * 1_000_000 }
}
