//! The load of a run: a few workflows, clients that start and steer their runs, workers that execute them.
//!
//! What a worker does follows from its task alone: it works for so long, and fails so often before it succeeds. So what must come out is known before.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use quorus_client::{
    Client, Error, LedgerEntry, LedgerEvent, Options, TaskContext, TaskError, content_digest,
    v1::{self, apply_workflow_request::Definition},
};
use serde_json::{Value, json};
use tonic::Code;

use super::{
    dice::Dice,
    net::SimulatedNet,
    scene::{self, Scene},
    site,
    story::{self, Story},
};
use crate::{
    record::{Answer, Call, Ending, Prediction, Shape, StepShape},
    workload::tasks,
};

/// How long a client waits for a call with all its tries.
const CALL_WITHIN: Duration = Duration::from_secs(12);
/// How long for one try.
const TRY_WITHIN: Duration = Duration::from_secs(4);
/// How often a client asks again under the same request id when it does not know.
const ASKS: u32 = 3;

/// Definitions, by name.
const WORKFLOWS: [(&str, &str); 9] = [
    (
        "chain",
        "
    - {id: a, task: {type: work}, with: {ms: \"${input.ms}\"}}
    - {id: b, needs: [a], task: {type: work}, with: {ms: \"${input.ms}\", fails: \"${input.fails}\"}, retry: {max_attempts: 6, initial_interval: 700ms, jitter: none}}
    - {id: c, needs: [b], task: {type: work}, with: {ms: \"${input.ms}\", after: \"${steps.b.output}\"}}",
    ),
    (
        "fan",
        "
    - {id: split, set: [1, 2, 3, 4, 5]}
    - {id: fan, needs: [split], for_each: {in: \"${steps.split.output}\", max_parallel: 3, steps: [{id: item, task: {type: work}, with: {ms: \"${input.ms}\", item: \"${item}\"}}]}}
    - {id: join, needs: [fan], task: {type: work}, with: {ms: \"${input.ms}\"}}",
    ),
    (
        "saga",
        "
    - {id: reserve, task: {type: work}, with: {ms: \"${input.ms}\"}, compensate: {task: {type: work}, with: {ms: 50}}}
    - {id: charge, needs: [reserve], task: {type: work}, with: {ms: \"${input.ms}\"}, compensate: {task: {type: work}, with: {ms: 50}}}
    - {id: ship, needs: [charge], task: {type: work}, with: {ms: \"${input.ms}\", fails: 99}, retry: {max_attempts: 2, initial_interval: 500ms, jitter: none}}",
    ),
    (
        "pause",
        "
    - {id: before, task: {type: work}, with: {ms: \"${input.ms}\"}}
    - {id: sleep, needs: [before], wait: {for: 4s}}
    - {id: later, needs: [sleep], task: {type: work}, with: {ms: \"${input.ms}\"}}",
    ),
    (
        "signalled",
        "
    - {id: go, signal: {name: go}}
    - {id: then, needs: [go], task: {type: work}, with: {ms: \"${input.ms}\"}}",
    ),
    (
        "diamond",
        "
    - {id: quick, task: {type: work}, with: {ms: 50}}
    - {id: slow, task: {type: work}, with: {ms: \"${input.ms}\"}}
    - {id: join, needs: [quick, slow], task: {type: work}, with: {ms: \"${input.ms}\"}}",
    ),
    (
        "early",
        "
    - {id: first, task: {type: work}, with: {ms: 8000}}
    - {id: go, needs: [first], signal: {name: go}}",
    ),
    (
        "harmless",
        "
    - {id: check, task: {type: work}, with: {ms: \"${input.ms}\", refuses: true}, retry: {max_attempts: 1}, compensate: {task: {type: work}, with: {ms: 50}}}",
    ),
    (
        "family",
        "
    - {id: child, workflow: {name: chain}, with: {ms: \"${input.ms}\", fails: 0}}
    - {id: last, needs: [child], task: {type: work}, with: {ms: \"${input.ms}\"}}",
    ),
];

/// What the workflows promise.
pub(super) fn shapes() -> BTreeMap<String, Shape> {
    let step = |step: &str, kind: &str, needs: &[&str]| StepShape {
        step: step.to_owned(),
        kind: kind.to_owned(),
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        attempts_max: if kind == "task" { 3 } else { 0 },
        retry_after_ms: if kind == "task" { 1000 } else { 0 },
        ..StepShape::default()
    };
    let predicts = |status: &str| BTreeMap::from([(String::new(), Prediction { status: status.to_owned(), ..Prediction::default() })]);
    let mut chain = vec![step("a", "task", &[]), step("b", "task", &["a"]), step("c", "task", &["b"])];
    (chain[1].attempts_max, chain[1].retry_after_ms) = (6, 700);
    let mut saga = vec![step("reserve", "task", &[]), step("charge", "task", &["reserve"]), step("ship", "task", &["charge"])];
    (saga[0].compensated, saga[1].compensated) = (true, true);
    (saga[2].attempts_max, saga[2].retry_after_ms) = (2, 500);
    let mut pause = vec![step("before", "task", &[]), step("sleep", "wait", &["before"]), step("later", "task", &["sleep"])];
    pause[1].wait_ms = 4000;
    let fan = vec![
        step("split", "set", &[]),
        step("fan", "for_each", &["split"]),
        step("fan[].item", "task", &[]),
        step("join", "task", &["fan"]),
    ];
    let mut harmless = vec![step("check", "task", &[])];
    (harmless[0].compensated, harmless[0].attempts_max) = (true, 1);
    let diamond = vec![step("quick", "task", &[]), step("slow", "task", &[]), step("join", "task", &["quick", "slow"])];
    let shapes = [
        ("diamond", diamond, "RUN_STATUS_SUCCEEDED"),
        ("early", vec![step("first", "task", &[]), step("go", "signal", &["first"])], "RUN_STATUS_SUCCEEDED"),
        ("harmless", harmless, "RUN_STATUS_FAILED"),
        ("chain", chain, "RUN_STATUS_SUCCEEDED"),
        ("fan", fan, "RUN_STATUS_SUCCEEDED"),
        ("saga", saga, "RUN_STATUS_FAILED"),
        ("pause", pause, "RUN_STATUS_SUCCEEDED"),
        ("signalled", vec![step("go", "signal", &[]), step("then", "task", &["go"])], "RUN_STATUS_SUCCEEDED"),
        ("family", vec![step("child", "workflow", &[]), step("last", "task", &["child"])], "RUN_STATUS_SUCCEEDED"),
    ];
    let shape = |(name, steps, status): (&str, Vec<StepShape>, &str)| {
        (name.to_owned(), Shape { workflow: name.to_owned(), steps, predictions: predicts(status) })
    };
    shapes.into_iter().map(shape).collect()
}

/// Works for ever; when its host dies, what it was doing is gone.
pub(super) async fn run_worker(number: u64, scene: Arc<Scene>, story: Story) -> turmoil::Result {
    let name = scene::worker(number);
    story.note(format_args!("{name} starts"));
    let scribe = site::scribe(&name, &story);
    let worker = tasks::register(site::worker(&scene, number, &name).concurrency(16), &scribe, 1.0)
        .register("work", move |context: TaskContext| work(context, name.clone(), story.clone()))
        .build()?;
    worker.run(std::future::pending()).await?;
    Ok(())
}

/// How long a slice of work is, after which there is an effect.
const SLICE_MS: u64 = 400;

async fn work(context: TaskContext, worker: String, story: Story) -> Result<Value, TaskError> {
    let input: Value = context.input()?;
    let number = |name: &str| input.get(name).and_then(Value::as_u64).unwrap_or_default();
    let mut left = number("ms");
    while left > 0 {
        let slice = left.min(SLICE_MS);
        tokio::select! {
            biased;
            _ = context.cancelled() => return Err(TaskError::Cancelled { nothing_done: false }),
            () = tokio::time::sleep(Duration::from_millis(slice)) => {}
        }
        left -= slice;
        story.write_down(LedgerEntry::about(context.task(), LedgerEvent::Effect, &worker));
    }
    if input.get("refuses").is_some() {
        return Err(TaskError::failed("Refused", "nothing was done").nothing_done());
    }
    if u64::from(context.task().attempt) <= number("fails") {
        return Err(TaskError::failed("Planned", "as the input says"));
    }
    Ok(json!({"step": context.task().step, "in": input}))
}

/// A client at work, and when its host is new.
pub(super) async fn run_client(number: u64, scene: Arc<Scene>, story: Story) -> turmoil::Result {
    let mut person = Person::new(number, scene.clone(), story.clone())?;
    person.define().await;
    let until = tokio::time::Instant::now() + scene.turmoil;
    let pace = person.dice.between(600, 3000);
    while tokio::time::Instant::now() < until {
        person.act().await;
        let pause = person.dice.around(pace);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    person.send_all_signals().await;
    story.note(format_args!("{} has nothing more to do", scene::client(number)));
    story.client_done();
    std::future::pending().await
}

/// One client, which has one call at a time.
struct Person {
    number: u64,
    /// Rises whenever it did not get to know how a call ended.
    lives: u64,
    started: u64,
    story: Story,
    client: Client,
    retried: Arc<AtomicBool>,
    dice: Dice,
    runs: Vec<String>,
    signals: VecDeque<(Duration, String)>,
    cancels: VecDeque<(Duration, String)>,
}

impl Person {
    fn new(number: u64, scene: Arc<Scene>, story: Story) -> Result<Self, Error> {
        let retried = Arc::new(AtomicBool::new(false));
        let noted = retried.clone();
        let client = Client::new(Options {
            endpoints: scene.endpoints(number + 1),
            timeout: CALL_WITHIN,
            try_timeout: TRY_WITHIN,
            connector: Some(Arc::new(SimulatedNet)),
            on_retry: Some(Arc::new(move |_| noted.store(true, Ordering::Relaxed))),
            ..Options::default()
        })?;
        let dice = Dice::new(scene.seed, &scene::client(number));
        Ok(Self {
            number,
            lives: 0,
            started: 0,
            story,
            client,
            retried,
            dice,
            runs: Vec::new(),
            signals: VecDeque::new(),
            cancels: VecDeque::new(),
        })
    }

    /// Applies all workflows, however long that takes. All clients do; it changes nothing twice.
    async fn define(&self) {
        for (name, steps) in WORKFLOWS {
            loop {
                match self.client.apply_workflow(application(name, steps)).await {
                    Ok(_) => break,
                    Err(error) => self.story.note(format_args!("{} can't apply {name} yet: {}", self.name(), error.reason())),
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        self.story.note(format_args!("{} has applied the workflows", self.name()));
    }

    fn name(&self) -> String {
        if self.lives == 0 { scene::client(self.number) } else { format!("{}.{}", scene::client(self.number), self.lives) }
    }

    async fn act(&mut self) {
        let now = story::now();
        if self.signals.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, run)) = self.signals.pop_front() {
                self.signal(run).await;
            }
        } else if self.cancels.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, run_id)) = self.cancels.pop_front() {
                let request = v1::CancelRunRequest { run_id: run_id.clone(), ..Default::default() };
                let client = self.client.clone();
                self.ask(Call::Cancel { run_id }, || client.cancel_run(request.clone())).await;
            }
        } else if !self.runs.is_empty() && self.dice.percent(35) {
            let run_id = self.dice.pick(&self.runs).clone();
            let stale = self.dice.percent(30);
            let consistency = if stale { v1::Consistency::Stale } else { v1::Consistency::Unspecified }.into();
            let request = v1::GetRunRequest { run_id: run_id.clone(), consistency, ..Default::default() };
            let client = self.client.clone();
            self.ask(Call::Get { run_id, stale }, || client.get_run(request.clone())).await;
        } else {
            self.start().await;
        }
    }

    async fn start(&mut self) {
        self.started += 1;
        let (workflow, _) = *self.dice.pick(&WORKFLOWS);
        let run_id = format!("{workflow}-{}-{}", self.number, self.started);
        let request_id = format!("request-{}-{}", self.number, self.started);
        let ms = *self.dice.pick(&[0, 100, 700, 2500, 9000]);
        let input = json!({"ms": ms, "fails": self.dice.between(0, 3)});
        let input = v1::Payload { data: input.to_string().into(), encoding: "json".to_owned() };
        let call = Call::Start {
            run_id: run_id.clone(),
            request_id: request_id.clone(),
            workflow: workflow.to_owned(),
            input_sha256: content_digest(Some(&input)),
            retried: false,
        };
        let request = v1::StartRunRequest {
            workflow: workflow.to_owned(),
            run_id: run_id.clone(),
            request_id,
            input: Some(input),
            ..Default::default()
        };
        let client = self.client.clone();
        let start = || {
            let (client, request) = (client.clone(), request.clone());
            async move { client.start_run(request).await.map(|answer| answer.run.unwrap_or_default()) }
        };
        let done = self.ask(call, start).await;
        if matches!(workflow, "signalled" | "early") && done != Some(false) {
            let due = story::now() + Duration::from_millis(self.dice.between(0, 6_000));
            self.signals.push_back((due, run_id.clone()));
        } else if self.dice.percent(6) {
            let due = story::now() + Duration::from_millis(self.dice.between(0, 6_000));
            self.cancels.push_back((due, run_id.clone()));
        }
        self.runs.push(run_id);
    }

    async fn signal(&mut self, run_id: String) {
        let signal_id = format!("signal-{run_id}");
        let request = v1::SignalRunRequest {
            run_id: run_id.clone(),
            name: "go".to_owned(),
            signal_id: signal_id.clone(),
            ..v1::SignalRunRequest::default()
        };
        let client = self.client.clone();
        let call = Call::Signal { run_id: run_id.clone(), signal: "go".to_owned(), signal_id };
        // Without it the run would wait for ever, so a signal whose end is not known is sent again.
        if self.ask(call, || client.signal_run(request.clone())).await.is_none() {
            self.signals.push_back((story::now(), run_id));
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn send_all_signals(&mut self) {
        while let Some((_, run)) = self.signals.pop_front() {
            self.signal(run).await;
        }
    }

    /// Calls, again under the same request id if it has to, and records what it got to know. True if it was done, false if refused, none if nobody knows.
    async fn ask<F: Future<Output = Result<v1::Run, Error>>>(&mut self, call: Call, mut send: impl FnMut() -> F) -> Option<bool> {
        let name = self.name();
        let id = self.story.invoke(&name, call);
        self.retried.store(false, Ordering::Relaxed);
        let mut tries = 0;
        let result = loop {
            tries += 1;
            let result = send().await;
            let known = result.as_ref().map_or_else(|error| is_answer(error, self.retried.load(Ordering::Relaxed)), |_| true);
            if known || tries == ASKS {
                break result;
            }
            self.retried.store(true, Ordering::Relaxed);
        };
        let again = self.retried.load(Ordering::Relaxed);
        let (ending, done) = match result {
            Ok(run) => (Ending::Ok(answer(&run)), Some(true)),
            Err(error) if is_answer(&error, again) => (Ending::Fail { reason: error.reason().to_owned() }, Some(false)),
            Err(error) => (Ending::Info { what: kind_of(&error) }, None),
        };
        if done.is_none() {
            self.lives += 1;
        }
        self.story.end(id, ending, |operation| {
            if let Call::Start { retried, .. } = &mut operation.call {
                *retried = again;
            }
        });
        done
    }
}

/// Applies a workflow of these steps.
pub(super) fn application(name: &str, steps: &str) -> v1::ApplyWorkflowRequest {
    let text = format!("api_version: quorus/v1\nkind: Workflow\nmetadata: {{name: {name}}}\nspec:\n  steps:{steps}\n");
    let definition = Some(Definition::Source(v1::Source { text, ..v1::Source::default() }));
    v1::ApplyWorkflowRequest { definition, ..Default::default() }
}

/// What a run's reader was told.
pub(super) fn answer(run: &v1::Run) -> Answer {
    Answer {
        run_uid: run.run_uid.clone(),
        status: run.status().as_str_name().to_owned(),
        sequence: run.sequence,
        shard: run.shard,
        accepted: None,
    }
}

/// True if a node's answer settles the call. After another try that may have worked, being too busy settles nothing.
pub(super) fn is_answer(error: &Error, again: bool) -> bool {
    let Error::Api(error) = error else { return false };
    let refused = matches!(
        error.code,
        Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists | Code::PermissionDenied | Code::Aborted
    );
    !error.from_transport && (refused || (!again && error.code == Code::ResourceExhausted))
}

/// What was seen, without what differs from machine to machine.
pub(super) fn kind_of(error: &Error) -> String {
    match error {
        Error::TimedOut { .. } => "silence".to_owned(),
        error => error.api().map_or_else(|| error.to_string(), |api| format!("{:?} {}", api.code, api.reason)),
    }
}
