//! What somebody does to the run: the actions of a test, at their time or when the run gets there.

use quorus_engine::{Command, Payload, StepId, Timestamp};

use super::{
    action::Action,
    trace::word,
    world::{World, principal},
};

/// Carries out the next action whose moment has come without a wait; false if there is none.
pub(super) fn ready(world: &mut World<'_>) -> Result<bool, String> {
    for (index, action) in world.case().actions.iter().enumerate() {
        let action = &action.value;
        let pending = !world.done.contains(&index) && !world.moments.contains_key(&index);
        if !pending || !has_come(world, action) {
            continue;
        }
        if is_conditional(action) || action.at.is_none() {
            let moment = action.at.map_or(world.now, |delay| delay.later(world.now));
            world.moments.insert(index, moment);
            if moment > world.now {
                continue;
            }
        } else if let Some(at) = action.at {
            world.moments.insert(index, at.later(world.run.head().started_at));
            continue;
        }
        carry_out(world, index, action)?;
        return Ok(true);
    }
    Ok(false)
}

/// When the next action is due whose moment is known.
pub(super) fn next(world: &World<'_>) -> Option<Timestamp> {
    world.moments.iter().filter(|(index, _)| !world.done.contains(index)).map(|(_, at)| *at).min()
}

/// Carries out the action that is due.
pub(super) fn at_time(world: &mut World<'_>) -> Result<(), String> {
    let due = world.moments.iter().filter(|(index, at)| !world.done.contains(index) && **at <= world.now);
    let Some((&index, _)) = due.min_by_key(|(index, at)| (**at, **index)) else { return Ok(()) };
    let action = &world.case().actions[index].value;
    carry_out(world, index, action)
}

fn is_conditional(action: &Action) -> bool {
    action.during.is_some() || action.after.is_some() || action.when.is_some() || waits_for(action).is_some()
}

/// An approval without a moment comes as soon as its step waits for it.
fn waits_for(action: &Action) -> Option<&str> {
    if action.at.is_some() || action.during.is_some() || action.after.is_some() || action.when.is_some() {
        return None;
    }
    action.approve.as_ref().or(action.reject.as_ref()).map(|approval| approval.step.as_str())
}

/// True if the run is where the action is to happen.
fn has_come(world: &World<'_>, action: &Action) -> bool {
    let state = |step: &str| world.run.step(&StepId::from(step));
    let open = |step: &str| state(step).is_some_and(|state| state.status.is_open());
    let during = action.during.as_deref().or(waits_for(action)).is_none_or(open);
    let after = action.after.as_deref().is_none_or(|step| state(step).is_some_and(|state| state.status.is_final()));
    let when = action.when.as_deref().is_none_or(|status| word(world.run.head().status) == status);
    during && after && when
}

fn carry_out(world: &mut World<'_>, index: usize, action: &Action) -> Result<(), String> {
    world.done.insert(index);
    let command = command(action, index)?;
    match (world.tell(&command), &action.refused) {
        (Ok(_), None) => Ok(()),
        (Ok(_), Some(expected)) => {
            world.refused.insert(index, format!("it was carried out, but was to be refused with `{}`", expected.value));
            Ok(())
        }
        (Err(rejection), Some(expected)) if rejection.to_string().contains(&expected.value) => Ok(()),
        (Err(rejection), _) => {
            world.refused.insert(index, format!("it was refused: {rejection}"));
            Ok(())
        }
    }
}

fn command(action: &Action, index: usize) -> Result<Command, String> {
    let operator = || principal("operator", &[]);
    let reason = |reason: &str| reason.to_owned();
    let mut commands = Vec::new();
    if let Some(signal) = &action.signal {
        let id = signal.id.clone().unwrap_or_else(|| format!("action-{index}"));
        let payload = signal.payload.as_ref().map(Payload::json);
        commands.push(Command::Signal { name: signal.name.clone(), id, payload, principal: operator() });
    }
    for (word, approve) in [(&action.approve, true), (&action.reject, false)] {
        if let Some(approval) = word {
            let principal = principal(approval.by.as_deref().unwrap_or("approver"), &approval.roles);
            let step = StepId::from(approval.step.as_str());
            commands.push(Command::Approve { step, approve, principal, reason: reason(&approval.reason) });
        }
    }
    if let Some(cancel) = &action.cancel {
        commands.push(Command::Cancel { principal: operator(), reason: reason(&cancel.reason), compensate: cancel.compensate });
    }
    if let Some(given) = &action.terminate {
        commands.push(Command::Terminate { principal: operator(), reason: reason(&given.reason) });
    }
    if let Some(given) = &action.pause {
        commands.push(Command::Pause { principal: operator(), reason: reason(&given.reason) });
    }
    if let Some(given) = &action.resume {
        commands.push(Command::Resume { principal: operator(), reason: reason(&given.reason) });
    }
    if let Some(given) = &action.retry {
        commands.push(Command::Retry { principal: operator(), reason: reason(&given.reason) });
    }
    if let Some(given) = &action.compensate {
        commands.push(Command::Compensate { principal: operator(), reason: reason(&given.reason), notify: None });
    }
    if let Some(given) = &action.restart {
        let step = StepId::from(given.step.as_str());
        commands.push(Command::RestartFrom { step, principal: principal("operator", &given.roles), reason: reason(&given.reason) });
    }
    if let Some(given) = &action.skip {
        let step = StepId::from(given.step.as_str());
        let output = given.output.as_ref().map(Payload::json);
        commands.push(Command::Skip { step, output, principal: principal("operator", &given.roles), reason: reason(&given.reason) });
    }
    match (commands.pop(), commands.is_empty()) {
        (Some(command), true) => Ok(command),
        (None, _) => Err(format!("action {} does nothing", index + 1)),
        (Some(_), false) => Err(format!("action {} does several things; make several actions of it", index + 1)),
    }
}
