//! One activity: pauses, the doing, the record.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    http,
    journal::{Run, RunStatus, now},
    model::{Activity, ActivityKind, Provider},
    provider,
    scope::Scope,
    tolerance::Tolerance,
};

/// The bound of an activity that has none of its own: a game day must end.
const BOUND: Duration = Duration::from_secs(600);
/// The longest pause, for the same reason.
const PAUSE_MAX: f64 = 3600.0;

/// What is left out in a dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Dry {
    /// Probes.
    Probes,
    /// Actions.
    Actions,
    /// Both.
    Activities,
    /// Pauses.
    Pause,
}

/// Who is told what happens, while it happens.
pub trait Observer: Send + Sync {
    /// A part begins: `hypothesis before`, `method`, `rollbacks`, ...
    fn part(&self, title: &str);
    /// An activity begins.
    fn begins(&self, activity: &Activity);
    /// An activity has ended.
    fn ended(&self, activity: &Activity, run: &Run);
    /// Something else worth a line.
    fn note(&self, text: &str);
}

/// What all activities of an experiment share.
pub struct Context {
    /// Values and secrets.
    pub scope: Scope,
    /// What is left out.
    pub dry: Option<Dry>,
    /// For processes.
    pub environment: Vec<(String, String)>,
    /// Ends what is being done.
    pub stop: CancellationToken,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
}

impl Context {
    /// Does an activity and records it. Never fails: what goes wrong is in the record.
    pub async fn execute(&self, activity: &Activity) -> Run {
        let dry = match self.dry {
            Some(Dry::Activities) => true,
            Some(Dry::Probes) => activity.kind == ActivityKind::Probe,
            Some(Dry::Actions) => activity.kind == ActivityKind::Action,
            Some(Dry::Pause) | None => false,
        };
        let pauses = !dry && self.dry != Some(Dry::Pause);
        if pauses {
            self.pause(&activity.pause_before).await;
        }
        self.observer.begins(activity);
        let (start, begun) = (now(), Instant::now());
        let result = if dry { Ok(Value::Null) } else { self.perform(activity, None).await };
        let (output, status, exception) = match result {
            Ok(output) => (self.scope.mask(output), RunStatus::Succeeded, Vec::new()),
            Err(error) => (Value::Null, RunStatus::Failed, vec![self.scope.mask_text(&format!("{error:#}"))]),
        };
        let raw = self.scope.mask(activity.raw.clone());
        let duration = begun.elapsed().as_secs_f64();
        let run = Run { activity: raw, output, start, status, end: now(), duration, exception, tolerance_met: None };
        self.observer.ended(activity, &run);
        if pauses {
            self.pause(&activity.pause_after).await;
        }
        run
    }

    /// Asks a probe of a hypothesis, and judges its answer.
    pub async fn ask(&self, probe: &Activity) -> Run {
        let mut run = self.execute(probe).await;
        let met = match (&run.status, &probe.tolerance) {
            (RunStatus::Failed, _) => false,
            _ if run.output.is_null() && self.dry.is_some() => true,
            (_, None) => true,
            (_, Some(Tolerance::Probe(judge))) => self
                .perform(judge, Some(&run.output))
                .await
                .is_ok_and(|answer| answer["status"].is_null() || answer["status"] == 0 || answer["status"] == 200),
            (_, Some(tolerance)) => match tolerance.allows(&run.output, &self.scope) {
                Ok(met) => met,
                Err(error) => {
                    run.exception.push(format!("{error:#}"));
                    false
                }
            },
        };
        run.tolerance_met = Some(met);
        run
    }

    /// Carries an activity out; `value` is what a tolerance's probe judges.
    pub async fn perform(&self, activity: &Activity, value: Option<&Value>) -> anyhow::Result<Value> {
        let bound =
            self.scope.fill(&activity.timeout).as_f64().map_or(BOUND, |seconds| Duration::from_secs_f64(seconds.clamp(0.0, PAUSE_MAX)));
        let judged = |arguments: &Value| {
            let mut arguments = self.scope.fill(arguments);
            match (value, &mut arguments) {
                (None, _) => {}
                (Some(value), Value::Object(map)) => {
                    map.insert("value".to_owned(), value.clone());
                }
                (Some(value), Value::Array(items)) => items.push(Value::from(value.to_string())),
                (Some(value), other) => *other = serde_json::json!([value.to_string()]),
            }
            arguments
        };
        match &activity.provider {
            Provider::Process { path, arguments } => {
                provider::run(&self.scope.text(path), &judged(arguments), &self.environment, bound, &self.stop).await
            }
            Provider::Http { url, method, headers, arguments, verify_tls } => {
                let request = http::Request {
                    url: self.scope.text(url),
                    method: method.clone(),
                    headers: self.scope.fill(headers),
                    arguments: judged(arguments),
                    verify_tls: *verify_tls,
                };
                tokio::select! {
                    answer = http::send(&request, bound) => answer,
                    () = self.stop.cancelled() => Err(anyhow::anyhow!("stopped with the experiment")),
                }
            }
        }
    }

    async fn pause(&self, seconds: &Value) {
        let seconds = self.scope.fill(seconds);
        let seconds = seconds.as_f64().or_else(|| seconds.as_str()?.parse().ok()).unwrap_or(0.0);
        if seconds > 0.0 {
            self.observer.note(&format!("pause of {seconds} s"));
            tokio::select! {
                () = sleep(Duration::from_secs_f64(seconds.min(PAUSE_MAX))) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }
}
