//! Fires: one task on the leader of group 0, and a short-lived one for each schedule that has something to do.
//!
//! It keeps nothing that it could not find out again: when each schedule is to be looked at. Deciding is [`super::decide`]'s, the state is group 0's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use quorus_engine::Timestamp;
use quorus_proto::{
    log::{ChangeSchedule, DecideFirings, StoredSchedule, change_schedule::Change, schedule_changed::Verdict},
    v1::{Firing, FiringStatus, OverlapPolicy},
};
use quorus_raft::{Group, Term};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    decide::{self, Decision, Moment},
    definition::{self, Definition},
    firing,
};
use crate::{
    api::ApiContext,
    clock_bound::Doubt,
    observe::names,
    system::{ScheduleKey, SystemAnswer, SystemCommand},
};

/// So many schedules are worked on at a time.
const AT_WORK_MAX: usize = 64;
/// How often a run that is in the way is looked at.
const LOOK_AT_RUNS: Duration = Duration::from_secs(1);
/// Pause before a start that failed for a passing reason is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// Wall clocks jump; nobody sleeps longer than this without a look at it.
const SLEEP_MAX: Duration = Duration::from_secs(5);
/// Pause after a fault that is not ours to repair.
const AFTER_FAULT: Duration = Duration::from_secs(2);
/// So many rounds of one look may follow one another without the others getting their turn.
const ROUNDS_MAX: usize = 8;

/// Fires all schedules whenever this node leads the system group and its clock is in no doubt, until `stop`.
pub fn start(context: Arc<ApiContext>, group: Group, doubt: watch::Receiver<Option<Doubt>>, stop: CancellationToken) {
    tokio::spawn(async move { stop.run_until_cancelled(follow_leadership(context, group, doubt)).await });
}

async fn follow_leadership(context: Arc<ApiContext>, group: Group, mut doubt: watch::Receiver<Option<Doubt>>) {
    let mut leadership = group.leadership();
    loop {
        // A leadership that can't be given away may stay with a node that does not know what time it is: then nothing fires.
        if doubt.wait_for(Option::is_none).await.is_err() {
            return;
        }
        let Ok(term) = leadership.wait_for(|now| now.here).await.map(|now| now.term) else { return };
        if doubt.borrow().is_some() {
            continue;
        }
        tracing::debug!(term, "this node fires the schedules");
        let driver = Driver { context: context.clone(), group: group.clone(), term };
        tokio::select! {
            () = driver.run() => {}
            lost = async { leadership.wait_for(|now| !now.here || now.term != term).await.map(drop) } => {
                metrics::gauge!(names::SCHEDULES).set(0.0);
                if lost.is_err() {
                    return;
                }
            }
            doubted = async { doubt.wait_for(Option::is_some).await.map(drop) } => {
                metrics::gauge!(names::SCHEDULES).set(0.0);
                if doubted.is_err() {
                    return;
                }
            }
        }
    }
}

/// One leadership's work.
#[derive(Clone)]
struct Driver {
    context: Arc<ApiContext>,
    group: Group,
    term: Term,
}

/// When a schedule is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Not before somebody changes it.
    Never,
    /// Then.
    At(Timestamp),
    /// It is being looked at; `true` if it was changed meanwhile.
    Now(bool),
}

impl Driver {
    /// Returns only if the group has stopped.
    async fn run(&self) {
        let mut changes = self.context.system.watch_schedules();
        // What earlier leaders recorded must be here before anything is decided.
        while let Err(error) = self.group.read_barrier().await {
            tracing::debug!(%error, "schedules wait for the system group");
            tokio::time::sleep(TRY_AGAIN).await;
        }
        let mut agenda: BTreeMap<ScheduleKey, Turn> = BTreeMap::new();
        let mut work: JoinSet<(ScheduleKey, Turn)> = JoinSet::new();
        let mut stale = true;
        loop {
            if std::mem::take(&mut stale) {
                changes.borrow_and_update();
                self.read_agenda(&mut agenda).await;
            }
            let now = self.context.clock.now();
            let due = agenda.iter().filter(|(_, turn)| matches!(turn, Turn::At(time) if *time <= now)).map(|(key, _)| key.clone());
            for key in due.take(AT_WORK_MAX.saturating_sub(work.len())).collect::<Vec<_>>() {
                agenda.insert(key.clone(), Turn::Now(false));
                let driver = self.clone();
                work.spawn(async move {
                    let turn = driver.look_at(&key).await;
                    (key, turn)
                });
            }
            let sleep = if work.len() < AT_WORK_MAX { sleep_until(&agenda, self.context.clock.now()) } else { SLEEP_MAX };
            tokio::select! {
                Some(done) = work.join_next() => match done {
                    Ok((key, next)) => {
                        let next = if agenda.get(&key) == Some(&Turn::Now(true)) { Turn::At(now) } else { next };
                        agenda.entry(key).and_modify(|turn| *turn = next);
                    }
                    // One that panicked must not be forgotten; that others get a second look at a time does no harm, since only one is recorded.
                    Err(error) => {
                        tracing::error!(%error, "work on a schedule ended in a panic");
                        let later = Turn::At(Timestamp(now.0 + i64::try_from(AFTER_FAULT.as_millis()).unwrap_or(0)));
                        agenda.values_mut().filter(|turn| matches!(turn, Turn::Now(_))).for_each(|turn| *turn = later);
                    }
                },
                changed = changes.changed() => {
                    stale = true;
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Every schedule that there is gets its turn now.
    async fn read_agenda(&self, agenda: &mut BTreeMap<ScheduleKey, Turn>) {
        let keys = match self.context.system.schedule_keys() {
            Ok(keys) => keys,
            Err(error) => {
                tracing::error!(%error, "schedules can't be read");
                tokio::time::sleep(AFTER_FAULT).await;
                return;
            }
        };
        let now = self.context.clock.now();
        let keys: BTreeSet<ScheduleKey> = keys.into_iter().collect();
        agenda.retain(|key, _| keys.contains(key));
        metrics::gauge!(names::SCHEDULES).set(keys.len() as f64);
        for key in keys {
            let turn = agenda.entry(key).or_insert(Turn::Never);
            *turn = if matches!(turn, Turn::Now(_)) { Turn::Now(true) } else { Turn::At(now) };
        }
    }

    /// Does what a schedule has to do now; returns when to look at it again.
    async fn look_at(&self, key: &ScheduleKey) -> Turn {
        let soon = |pause: Duration| Turn::At(Timestamp(self.context.clock.now().0 + i64::try_from(pause.as_millis()).unwrap_or(0)));
        for _ in 0..ROUNDS_MAX {
            match self.round(key).await {
                Ok(Round::Again) => {}
                Ok(Round::Wait(pause)) => return soon(pause),
                Ok(Round::Until(turn)) => return turn,
                Err(error) => {
                    tracing::error!(namespace = key.namespace, schedule = key.name, %error, "a schedule can't be worked on");
                    return soon(AFTER_FAULT);
                }
            }
        }
        soon(Duration::ZERO)
    }

    async fn round(&self, key: &ScheduleKey) -> Result<Round, String> {
        let system = &self.context.system;
        let Some(state) = system.schedule(key).map_err(|error| error.to_string())? else { return Ok(Round::Until(Turn::Never)) };
        let (_, definition) = definition::decode(state.definition.clone())?;
        let read = |number: u64| system.firing(key, number).map_err(|error| error.to_string());
        let starting: Vec<Firing> =
            state.starting.iter().map(|number| read(*number)).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        let stuck = !starting.is_empty();
        if stuck && let Some(round) = self.start(key, &definition, &state, &starting).await? {
            return Ok(round);
        }
        let waiting = if state.waiting > 0 { read(state.waiting)? } else { None };
        let now = self.context.clock.now();
        let ended = if decide::asks_for_runs(&definition, &state, now) {
            match firing::ended(&self.context, key, &state.active_runs).await {
                Some(ended) => ended,
                None => return Ok(Round::Wait(TRY_AGAIN)),
            }
        } else {
            BTreeSet::new()
        };
        if let Some(waiting) = &waiting {
            self.clear_the_way(key, &state, waiting, &ended).await;
        }
        let moment = Moment {
            name: &key.name,
            definition: &definition,
            state: &state,
            starting: &starting,
            waiting: waiting.as_ref(),
            ended: &ended,
            now,
        };
        let Decision { record, wake, blocked } = decide::decide(&moment);
        if let Some(record) = record {
            count(&record);
            return self.record(key, record).await;
        }
        Ok(match wake {
            _ if stuck => Round::Wait(TRY_AGAIN),
            _ if blocked => Round::Wait(LOOK_AT_RUNS.min(wake.map_or(LOOK_AT_RUNS, |wake| between(now, wake)))),
            Some(wake) => Round::Until(Turn::At(wake)),
            None => Round::Until(Turn::Never),
        })
    }

    /// Starts what is recorded as `starting`, and records what came of it; `None` if nothing did.
    async fn start(
        &self,
        key: &ScheduleKey,
        definition: &Definition,
        state: &StoredSchedule,
        starting: &[Firing],
    ) -> Result<Option<Round>, String> {
        let started = firing::start_all(&self.context, key, definition, state, starting).await;
        if started.is_empty() {
            return Ok(None);
        }
        started.iter().for_each(count_one);
        let record = DecideFirings { expected_version: state.version, updates: started, ..DecideFirings::default() };
        self.record(key, record).await.map(Some)
    }

    /// Asks the runs that are in the way of the firing that waits to stop, if its policy says so. Repeating that changes nothing.
    async fn clear_the_way(&self, key: &ScheduleKey, state: &StoredSchedule, waiting: &Firing, ended: &BTreeSet<String>) {
        if !matches!(waiting.overlap(), OverlapPolicy::CancelOther | OverlapPolicy::TerminateOther) {
            return;
        }
        for run_id in state.active_runs.iter().filter(|run| !ended.contains(*run)) {
            if !firing::stop(&self.context, key, state, waiting, run_id).await {
                tracing::debug!(schedule = key.name, run = run_id, "a run that is in the way is not stopped yet");
            }
        }
    }

    async fn record(&self, key: &ScheduleKey, decision: DecideFirings) -> Result<Round, String> {
        let command = SystemCommand::ChangeSchedule(
            ChangeSchedule {
                namespace: key.namespace.clone(),
                name: key.name.clone(),
                principal: None,
                change: Some(Change::Decide(decision)),
            }
            .into(),
        );
        let proposed = match self.group.propose(self.term, command.encode(self.context.clock.now())).await {
            Ok(proposed) => proposed,
            Err(error) => {
                tracing::debug!(schedule = key.name, %error, "a decision is not recorded");
                return Ok(Round::Wait(TRY_AGAIN));
            }
        };
        match SystemAnswer::decode(proposed.answer).map_err(|error| error.to_string())? {
            SystemAnswer::Schedule(changed) if changed.verdict() == Verdict::Unknown => Ok(Round::Until(Turn::Never)),
            // Also when somebody changed it meanwhile: what is owed follows from what is recorded.
            _ => Ok(Round::Again),
        }
    }
}

/// What follows a round.
enum Round {
    Again,
    Wait(Duration),
    Until(Turn),
}

fn between(now: Timestamp, then: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(then.0.saturating_sub(now.0)).unwrap_or(0))
}

fn sleep_until(agenda: &BTreeMap<ScheduleKey, Turn>, now: Timestamp) -> Duration {
    let times = agenda.values().filter_map(|turn| match turn {
        Turn::At(time) => Some(between(now, *time)),
        Turn::Never | Turn::Now(_) => None,
    });
    times.min().unwrap_or(SLEEP_MAX).min(SLEEP_MAX)
}

/// Counts what was decided for good.
fn count(decision: &DecideFirings) {
    decision.firings.iter().chain(&decision.updates).for_each(count_one);
}

fn count_one(firing: &Firing) {
    let outcome = match firing.status() {
        FiringStatus::Started => "started",
        FiringStatus::Failed => "failed",
        FiringStatus::Skipped => "skipped",
        FiringStatus::Unspecified | FiringStatus::Starting | FiringStatus::Waiting => return,
    };
    metrics::counter!(names::SCHEDULE_FIRINGS, "outcome" => outcome).increment(firing.count.max(1));
}
