//! The language of the scripts in `testscripts/`.
//!
//! A script is blocks of commands, each followed by `---` and what the commands gave. First come `workflow` and `step`, then what
//! happens. Times are relative to the start (`+10s`). Words are separated by spaces outside of quotes and brackets.

use std::sync::Arc;

use serde_json::Value;

use super::definition::add;
use super::show;
use super::world::{START, World, worker};
use crate::expr::parse_duration;
use crate::{
    Command, ConcurrencyDefinition, Definition, Failure, Millis, OnConflict, OnFailure, Outcome, Parent, Payload, PlanRef, Principal, Run,
    RunInfo, RunStatus, RunUid, StepId, TimerKind, Timestamp, Token, plan,
};

/// Runs the blocks of one script.
#[derive(Default)]
pub(super) struct Script {
    definition: Definition,
    labels: std::collections::BTreeMap<String, String>,
    world: Option<World>,
    credits: Vec<(String, String)>,
}

impl Script {
    pub(super) fn new() -> Self {
        Self { definition: Definition { name: "test".to_owned(), ..Definition::default() }, ..Self::default() }
    }

    /// Runs one command; returns the lines that it gives.
    pub(super) fn command(&mut self, line: &str) -> Vec<String> {
        let words = words(line);
        let args = Args::new(&words[1..]);
        match words[0].as_str() {
            "workflow" => self.workflow(&args),
            "label" => drop(self.labels.insert(args.at(0).to_owned(), args.at(1).to_owned())),
            "step" => add(&mut self.definition.steps, &args),
            "finally" => add(&mut self.definition.finally, &args),
            "attention" => add(&mut self.definition.on_attention, &args),
            "plan" => return self.plan(),
            "worker" => self.worker(&args),
            "start" => {
                self.begin(&args);
                self.world().parks = args.get("parks").is_some();
                let info = self.world().run.info().clone();
                return self.act(&Command::Start(Box::new(info)));
            }
            "wait" => self.world().now = self.world().now.plus(duration(args.at(0))),
            "seed" => self.world().seed = args.at(0).parse().unwrap(),
            "show" => return show::run(&self.world().run),
            "timers" => return self.timers(),
            "owes" => return self.owes(),
            "unverified_allowed" => self.world().allow_unverified = true,
            "redefine" => self.definition = Definition { name: "test".to_owned(), ..Definition::default() },
            "replan" => self.replan(),
            "history" => return self.history(),
            "fire" if args.positional.is_empty() => return self.fire_next(),
            other => {
                let command = self.parse(other, &args);
                return self.act(&command);
            }
        }
        Vec::new()
    }

    fn parse(&mut self, word: &str, args: &Args) -> Command {
        let principal = || Principal {
            subject: args.get("by").unwrap_or("ann").to_owned(),
            roles: args.get("roles").map(|roles| roles.split(',').map(str::to_owned).collect()).unwrap_or_default(),
            issuer: String::new(),
            verified: !args.flag("unverified"),
        };
        let reason = plain(args.at(0));
        match word {
            "cancel" => return Command::Cancel { principal: principal(), reason, compensate: !args.flag("no_compensate") },
            "terminate" => return Command::Terminate { principal: principal(), reason },
            "advance" => return Command::Advance,
            "pause" => return Command::Pause { principal: principal(), reason },
            "resume" => return Command::Resume { principal: principal(), reason },
            "retry" => return Command::Retry { principal: principal(), reason },
            "compensate" => return Command::Compensate { principal: principal(), reason, notify: None },
            "note" => return Command::Annotate { principal: principal(), text: reason },
            "granted" => return Command::SlotGranted,
            "denied" => return Command::SlotDenied { reason },
            "released" => return Command::SlotReleased,
            "notified" => return Command::ParentNotified,
            "signal" => {
                let id = args.get("id").unwrap_or("s1").to_owned();
                let payload = args.positional.get(1).map(|text| payload(text));
                return Command::Signal { name: args.at(0).to_owned(), id, payload, principal: principal() };
            }
            "migrate" => {
                let plan = PlanRef(Arc::new(plan(&self.definition).unwrap()));
                return Command::Migrate { version: 2, digest: [2; 32], plan, principal: principal(), reason };
            }
            _ => {}
        }
        let step = StepId::from(args.at(0));
        let reason = plain(args.at(1));
        let child = self.world().run.step(&step).and_then(|state| state.child.as_ref()).map(|child| child.uid).unwrap_or_default();
        match word {
            "approve" | "reject" => return Command::Approve { step, approve: word == "approve", principal: principal(), reason },
            "restart" => return Command::RestartFrom { step, principal: principal(), reason },
            "skip" => return Command::Skip { step, output: args.get("output").map(payload), principal: principal(), reason },
            "child_started" => return Command::ChildStarted { step, child },
            "child_refused" => {
                let failure = Failure { message: reason, non_retryable: true, ..Failure::default() };
                return Command::ChildRefused { step, child, failure };
            }
            "child_ok" => {
                let output = args.positional.get(1).map(|text| payload(text));
                return Command::ChildEnded { step, child, status: RunStatus::Succeeded, output, failure: None };
            }
            "child_cancelled" => {
                return Command::ChildEnded { step, child, status: RunStatus::Cancelled, output: None, failure: None };
            }
            "child_failed" => {
                let failure = Some(Failure { kind: "Broken".to_owned(), message: reason, ..Failure::default() });
                return Command::ChildEnded { step, child, status: RunStatus::Failed, output: None, failure };
            }
            _ => {}
        }
        let mut attempt = self.world().attempt(&step);
        attempt.attempt = args.get("attempt").map_or(attempt.attempt, |text| text.parse().unwrap());
        attempt.token = args.get("token").map_or(attempt.token, |text| Token(text.parse().unwrap()));
        match word {
            "lease" => Command::Lease { step, worker: worker(args.get("worker").unwrap_or("w")) },
            "checkpoint" => Command::Checkpoint { attempt, checkpoint: payload(args.at(1)) },
            "abandon" => Command::Abandon { attempt, reason: plain(args.at(1)) },
            "attempt_timeout" => Command::AttemptTimeout { attempt },
            "heartbeat_timeout" => Command::HeartbeatTimeout { attempt },
            "schedule_timeout" => {
                let armed = self.world().run.step(&step).and_then(|state| state.schedule_deadline);
                let deadline = args.get("deadline").map(time).or(armed).unwrap_or_default();
                Command::ScheduleTimeout { step, deadline }
            }
            "fire" => Command::FireTimer {
                step: (args.at(0) != "run").then_some(step),
                kind: match args.at(1) {
                    "due" => TimerKind::Due,
                    "step_timeout" => TimerKind::StepTimeout,
                    "cancel_grace" => TimerKind::CancelGrace,
                    "run_timeout" => TimerKind::RunTimeout,
                    other => panic!("no timer {other}"),
                },
                due: time(args.at(2)),
            },
            outcome => Command::Complete { attempt, outcome: self::outcome(outcome, args) },
        }
    }

    fn workflow(&mut self, args: &Args) {
        let definition = &mut self.definition;
        definition.timeout = args.get("timeout").map(duration);
        definition.compensation_timeout = args.get("compensation_timeout").map(duration);
        definition.output = args.get("output").map(json);
        if let Some(name) = args.get("name") {
            definition.name = name.to_owned();
        }
        if args.flag("hold") {
            definition.on_failure = OnFailure::Hold;
        }
        if let Some(signals) = args.get("signals") {
            definition.signals = signals.split(',').map(|name| (name.to_owned(), json("{}"))).collect();
        }
        if let Some(key) = args.get("concurrency") {
            definition.concurrency = Some(ConcurrencyDefinition {
                key: plain(key),
                limit: 1,
                on_conflict: if args.flag("reject") { OnConflict::Reject } else { OnConflict::Queue },
                max_wait: args.get("max_wait").map(duration),
            });
        }
    }

    fn plan(&self) -> Vec<String> {
        match plan(&self.definition) {
            Ok(plan) => {
                let ids = |needs: &[crate::PlannedNeed]| {
                    needs.iter().map(|need| plan.steps[need.index].id.to_string()).collect::<Vec<_>>().join(",")
                };
                let steps = plan
                    .steps
                    .iter()
                    .map(|step| format!("  {} {} level {} needs [{}]", step.id, step.kind.name(), step.level, ids(&step.needs)));
                let critical = plan.critical_path().iter().map(ToString::to_string).collect::<Vec<_>>().join(" -> ");
                let warnings = plan.warnings.iter().map(|problem| format!("  warning {}: {problem}", problem.code));
                steps.chain([format!("  critical path {critical}")]).chain(warnings).collect()
            }
            Err(problems) => problems
                .iter()
                .map(|problem| {
                    let level = if problem.warning { "warning" } else { "error" };
                    let offset = problem.offset.map(|offset| format!(" at {offset}")).unwrap_or_default();
                    format!("  {level} {}{offset}: {problem}", problem.code)
                })
                .collect(),
        }
    }

    fn worker(&mut self, args: &Args) {
        let (name, queue) = (args.at(0).to_owned(), args.get("queue").unwrap_or("default").to_owned());
        match &mut self.world {
            Some(world) => world.pool.0.entry(queue).or_default().push(worker(&name)),
            None => self.credits.push((queue, name)),
        }
    }

    fn begin(&mut self, args: &Args) {
        if self.world.is_some() {
            return;
        }
        let info = RunInfo {
            namespace: "default".to_owned(),
            run_id: "r1".to_owned(),
            uid: RunUid(0xabc),
            workflow: self.definition.name.clone(),
            labels: self.labels.clone(),
            principal: Principal { subject: "sam".to_owned(), ..Principal::default() },
            pinned: [("child".to_owned(), 7)].into(),
            parent: args.get("parent").map(|step| Parent { step: step.to_owned(), ..Parent::default() }),
            input: Payload {
                encoding: args.get("encoding").unwrap_or_default().to_owned(),
                ..args.positional.first().map(|text| payload(text)).unwrap_or_default()
            },
            ..RunInfo::default()
        };
        let mut world = World::new(Arc::new(plan(&self.definition).unwrap()), info);
        for (queue, name) in self.credits.drain(..) {
            world.pool.0.entry(queue).or_default().push(worker(&name));
        }
        self.world = Some(world);
    }

    pub(super) fn world_ref(&self) -> Option<&World> {
        self.world.as_ref()
    }

    fn world(&mut self) -> &mut World {
        self.world.as_mut().expect("the script begins with a start")
    }

    fn act(&mut self, command: &Command) -> Vec<String> {
        let world = self.world();
        let before = world.run.head().seq;
        match world.act(command) {
            Err(rejection) => vec![format!("  refused: {rejection}")],
            Ok(decision) if decision.events.is_empty() => vec!["  accepted, nothing changed".to_owned()],
            Ok(decision) => {
                let lines: Vec<_> = (before + 1..).zip(&decision.events).map(|(seq, event)| show::event(seq, event)).collect();
                if lines.len() <= 40 { lines } else { shortened(lines) }
            }
        }
    }

    fn timers(&mut self) -> Vec<String> {
        let name = |step: Option<StepId>| step.map_or("run".to_owned(), |step| step.to_string());
        self.world().timers().into_iter().map(|(due, step, kind)| format!("  {} {} {kind:?}", show::relative(due), name(step))).collect()
    }

    /// What the run owes to others.
    fn owes(&mut self) -> Vec<String> {
        let run = &self.world().run;
        let own = run.head().owes().map(|owed| format!("  run {owed:?}"));
        own.chain(run.steps().iter().filter_map(|(id, state)| Some(format!("  {id} {:?}", state.owes()?)))).collect()
    }

    /// The run is loaded again with the plan that it was migrated to.
    fn replan(&mut self) {
        let to = Arc::new(plan(&self.definition).unwrap());
        let world = self.world();
        let info = world.run.info().clone();
        world.run = std::mem::replace(&mut world.run, Run::new(info, to.clone())).replan(to);
    }

    fn history(&mut self) -> Vec<String> {
        (1..).zip(&self.world().events).map(|(seq, event)| show::event(seq, event)).collect()
    }

    fn fire_next(&mut self) -> Vec<String> {
        let Some((due, step, kind)) = self.world().timers().into_iter().next() else { return vec!["  no timer".to_owned()] };
        self.world().now = self.world().now.max(due);
        let now = format!("  {}", show::relative(self.world().now));
        [now].into_iter().chain(self.act(&Command::FireTimer { step, kind, due })).collect()
    }
}

fn shortened(lines: Vec<String>) -> Vec<String> {
    let middle = format!("  ... {} events ...", lines.len() - 6);
    lines[..3].iter().cloned().chain([middle]).chain(lines[lines.len() - 3..].iter().cloned()).collect()
}

const FLAGS: [&str; 2] = ["non_retryable", "nothing_done"];

fn outcome(word: &str, args: &Args) -> Outcome {
    match word {
        "ok" => Outcome::Succeeded(args.positional.get(1).map(|text| payload(text))),
        "huge" => Outcome::Succeeded(Some(Payload { data: vec![b'1'; Payload::BYTES_MAX + 1].into(), encoding: String::new() })),
        "fail" => Outcome::Failed(Failure {
            kind: args.at(1).to_owned(),
            message: args
                .positional
                .iter()
                .skip(2)
                .find(|word| !FLAGS.contains(&word.as_str()))
                .map(|word| plain(word))
                .unwrap_or_default(),
            details: None,
            non_retryable: args.flag("non_retryable"),
            nothing_done: args.flag("nothing_done"),
            retry_after: args.get("retry_after").map(duration),
        }),
        "release" => Outcome::Released(args.positional.get(1).map(|text| payload(text))),
        "stopped" => Outcome::Cancelled { nothing_done: args.flag("nothing_done") },
        other => panic!("no command {other}"),
    }
}

/// Words and `key=value` pairs of a command.
pub(super) struct Args {
    pub(super) positional: Vec<String>,
    named: Vec<(String, String)>,
}

impl Args {
    fn new(words: &[String]) -> Self {
        let mut args = Self { positional: Vec::new(), named: Vec::new() };
        for word in words {
            match word.split_once('=') {
                Some((key, value)) if key.chars().all(|c| c.is_ascii_lowercase() || c == '_') => {
                    args.named.push((key.to_owned(), unquote(value)))
                }
                _ => args.positional.push(unquote(word)),
            }
        }
        args
    }

    pub(super) fn at(&self, index: usize) -> &str {
        self.positional.get(index).map(String::as_str).unwrap_or_default()
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.named.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.positional.iter().any(|word| word == name)
    }
}

/// Splits at spaces outside of quotes and brackets. A word in back quotes is taken as it is.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut depth, mut quote) = (0_i32, None);
    for c in line.trim().chars() {
        match (quote, c) {
            (None, ' ') if depth == 0 => {
                if !words[words.len() - 1].is_empty() {
                    words.push(String::new());
                }
                continue;
            }
            (None, '"' | '`') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') => depth -= 1,
            _ => {}
        }
        let last = words.len() - 1;
        words[last].push(c);
    }
    words
}

fn unquote(word: &str) -> String {
    word.strip_prefix('`').and_then(|word| word.strip_suffix('`')).unwrap_or(word).to_owned()
}

/// What is not JSON may be in quotes, too.
pub(super) fn plain(word: &str) -> String {
    word.strip_prefix('"').and_then(|word| word.strip_suffix('"')).unwrap_or(word).to_owned()
}

pub(super) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(super) fn payload(text: &str) -> Payload {
    Payload { data: text.to_owned().into(), encoding: String::new() }
}

pub(super) fn duration(text: &str) -> Millis {
    parse_duration(text).unwrap_or_else(|| panic!("{text} is not a duration"))
}

fn time(text: &str) -> Timestamp {
    START.plus(duration(text.trim_start_matches('+')))
}
