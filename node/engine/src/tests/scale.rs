//! Large plans: the work of a step does not grow with the size of its run. Counted, not timed.

use serde_json::json;

use super::world::{World, worker};
use crate::{
    AttemptRef, Command, Context, Decisions, Definition, ForEachDefinition, Kind, Millis, NoCredits, Outcome, Payload, Run, RunInfo,
    RunStatus, StepDefinition, StepId, StepStatus, TaskDefinition, Token, Wait, apply, decide, plan,
};

const STEPS: usize = 10_000;

fn task() -> Kind {
    Kind::Task(TaskDefinition { task_type: "work".to_owned(), ..TaskDefinition::default() })
}

fn step(id: String, needs: Vec<String>, kind: Kind) -> StepDefinition {
    StepDefinition { id, needs: needs.into_iter().map(Into::into).collect(), kind: Some(kind), ..StepDefinition::default() }
}

fn workflow(steps: Vec<StepDefinition>) -> Definition {
    Definition { name: "large".to_owned(), steps, ..Definition::default() }
}

/// A run without the checks of a world, which are not linear.
struct Bare {
    run: Run,
    events: usize,
}

impl Bare {
    fn start(definition: &Definition, input: &serde_json::Value) -> Self {
        let info = RunInfo { input: Payload::json(input), ..RunInfo::default() };
        let mut bare = Self { run: Run::new(info.clone(), plan(definition).unwrap().into()), events: 0 };
        bare.act(&Command::Start(Box::new(info)));
        bare
    }

    /// Returns how many events it took.
    fn act(&mut self, command: &Command) -> usize {
        let mut context = Context {
            now: super::world::START,
            seed: 0,
            lease: Millis(1),
            cancel_grace: Millis(1),
            allow_unverified: false,
            parks: false,
            credits: &mut NoCredits,
        };
        let events = decide(&self.run, command, &mut context).unwrap().events;
        apply(&mut self.run, &events);
        self.events += events.len();
        events.len()
    }

    fn execute(&mut self, id: &str) -> usize {
        let step = StepId::from(id);
        self.act(&Command::Lease { step: step.clone(), worker: worker("w") });
        let lease = self.run.step(&step).unwrap().lease.clone().unwrap();
        let attempt = AttemptRef { step, attempt: 1, token: lease.token };
        self.act(&Command::Complete { attempt, outcome: Outcome::Succeeded(None) })
    }
}

#[test]
fn a_chain_of_10_000_tasks_takes_the_same_events_for_each() {
    let needs = |index: usize| if index == 0 { vec![] } else { vec![format!("s{}", index - 1)] };
    let steps = (0..STEPS).map(|index| step(format!("s{index}"), needs(index), task())).collect();
    let mut run = Bare::start(&workflow(steps), &json!({}));
    for index in 0..STEPS {
        // Ended, and the next one queued; the last one ends the run instead.
        assert_eq!(run.execute(&format!("s{index}")), 3);
        assert!(run.run.open_steps().count() <= 1);
    }
    assert_eq!(run.run.head().status, RunStatus::Succeeded);
    assert_eq!(run.events, 2 + STEPS * 4);
}

#[test]
fn a_cascade_of_10_000_steps_is_one_decision_without_recursion() {
    let steps = (0..STEPS)
        .map(|index| match index {
            0 => step("s0".to_owned(), vec![], Kind::Set(json!(1))),
            _ => step(
                format!("s{index}"),
                vec![format!("s{}", index - 1)],
                Kind::Set(json!(format!("${{steps.s{}.output + 1}}", index - 1))),
            ),
        })
        .collect();
    let mut definition = workflow(steps);
    definition.output = Some(json!("${steps.s9999.output}"));
    let run = Bare::start(&definition, &json!({}));
    assert_eq!(run.run.head().status, RunStatus::Succeeded);
    assert_eq!(run.run.head().output, Some(Payload::json(&json!(STEPS))));
    assert_eq!(run.events, 2 + STEPS);
}

#[test]
fn a_fan_out_and_in_of_10_000_is_cut_into_decisions() {
    let mut steps = vec![step("start".to_owned(), vec![], task())];
    steps.extend((0..STEPS - 2).map(|index| step(format!("s{index}"), vec!["start".to_owned()], task())));
    steps.push(step("end".to_owned(), (0..STEPS - 2).map(|index| format!("s{index}")).collect(), task()));
    let mut run = Bare::start(&workflow(steps), &json!({}));
    let wide = run.execute("start");
    assert!(wide < 15_000);
    while run.run.has_backlog() {
        assert!(run.act(&Command::Advance) > 0, "each decision goes on");
    }
    assert_eq!(run.run.open_steps().count(), STEPS - 2);
    for index in 0..STEPS - 2 {
        let expected = if index == STEPS - 3 { 3 } else { 2 };
        assert_eq!(run.execute(&format!("s{index}")), expected, "only the last one starts the join");
    }
    run.execute("end");
    assert_eq!(run.run.head().status, RunStatus::Succeeded);
    assert_eq!(run.events, 2 + STEPS * 4);
}

#[test]
fn each_of_10_000_items_takes_the_same_events_and_leaves_nothing_to_remember() {
    let work = StepDefinition { with: Some(json!("${item.n}")), ..step("work".to_owned(), vec![], task()) };
    let check = step("check".to_owned(), vec!["work".to_owned()], Kind::Set(json!("${steps.work.output}")));
    let items = ForEachDefinition {
        items: Some(json!("${input.items}")),
        steps: vec![work, check],
        max_parallel: 100,
        collect: Some(json!("${index}")),
        ..ForEachDefinition::default()
    };
    let list: Vec<_> = (0..STEPS).map(|n| json!({"n": n})).collect();
    let mut run = Bare::start(&workflow(vec![step("all".to_owned(), vec![], Kind::ForEach(items))]), &json!({"items": list}));
    assert_eq!(run.events, 2 + 100 * 2);
    for index in 0..STEPS {
        // Leased; then the attempt, its step, the computed one and the item ended, and the next item and its step began.
        let expected = match index {
            _ if index == STEPS - 1 => 6,
            _ if index >= STEPS - 100 => 4,
            _ => 6,
        };
        assert_eq!(run.execute(&format!("all[{index}].work")), expected, "{index}");
        assert!(run.run.remembered() <= 1_000, "what is remembered does not grow: {}", run.run.remembered());
    }
    assert_eq!(run.run.head().status, RunStatus::Succeeded);
    let output = run.run.step(&StepId::from("all")).unwrap().output.clone().unwrap();
    let output: serde_json::Value = serde_json::from_slice(&output.data).unwrap();
    assert_eq!((output["succeeded"].clone(), output["items"][9_999].clone()), (json!(STEPS), json!(9_999)));
}

#[test]
fn a_wide_for_each_is_cut_into_decisions() {
    let work = StepDefinition { with: Some(json!("${input.big}")), ..step("work".to_owned(), vec![], task()) };
    let items = ForEachDefinition {
        items: Some(json!((0..100).collect::<Vec<_>>())),
        steps: vec![work],
        max_parallel: 100,
        ..ForEachDefinition::default()
    };
    let definition = workflow(vec![step("all".to_owned(), vec![], Kind::ForEach(items))]);
    let mut world = World::of(&definition, &json!({"big": "x".repeat(200_000)}));
    assert!(world.start().events.len() < 20, "a decision stays around a megabyte");
    let mut decisions = 0;
    while world.run.has_backlog() {
        assert!(world.act(&Command::Advance).unwrap().events.len() < 20);
        decisions += 1;
    }
    assert!(decisions > 10);
    assert_eq!(world.run.progress(&StepId::from("all")).unwrap().started, 100);
}

#[test]
fn a_fan_out_of_large_inputs_is_not_one_decision() {
    let with = || StepDefinition { with: Some(json!("${input.big}")), ..step(String::new(), vec![], task()) };
    let steps = (0..100).map(|index| StepDefinition { id: format!("s{index}"), ..with() }).collect();
    let mut world = World::of(&workflow(steps), &json!({"big": "x".repeat(500_000)}));
    let first = world.start();
    assert!(first.events.len() < 10, "a decision stays around a megabyte");
    assert!(world.run.has_backlog());
    // Nobody has to send `Advance` for the run to go on: every decision does.
    let mut decisions = 0;
    while world.run.has_backlog() {
        let step = world.first(StepStatus::Queued).unwrap();
        world.act(&Command::Lease { step: step.clone(), worker: worker("w") }).unwrap();
        let attempt = world.attempt(&step);
        let decision = world.act(&Command::Complete { attempt, outcome: Outcome::Succeeded(None) }).unwrap();
        assert!(decision.events.len() < 10);
        decisions += 1;
    }
    assert!(decisions > 10);
    assert_eq!(world.run.steps().len(), 100);
    assert_eq!(world.state("s99").status, StepStatus::Queued);
}

#[test]
fn a_cascade_of_large_values_is_cut_and_wakes_itself() {
    let steps = (0..20).map(|index| step(format!("s{index}"), vec![], Kind::Set(json!("${input.big}")))).collect();
    let mut world = World::of(&workflow(steps), &json!({"big": "x".repeat(500_000)}));
    assert!(world.start().events.len() < 10, "a decision stays around a megabyte");
    let mut decisions = 0;
    while !world.run.head().status.is_final() {
        assert!(world.fire_next().unwrap().unwrap().events.len() < 10);
        assert_eq!(world.now, super::world::START, "nobody waits");
        decisions += 1;
    }
    assert!(decisions > 5);
    assert_eq!(world.run.head().status, RunStatus::Succeeded);
}

#[test]
fn costly_expressions_are_spread_over_decisions() {
    // About half of what a decision may take each, whatever becomes of the step.
    let costly = |body: &str| format!("input.l.all(a, input.l.all(b, a + b >= 0)) == {body}");
    let mut steps: Vec<_> =
        (0..8).map(|index| StepDefinition { condition: Some(costly("true")), ..step(format!("task{index}"), vec![], task()) }).collect();
    steps.extend((0..2).map(|index| StepDefinition {
        condition: Some(costly("false")),
        ..step(format!("skipped{index}"), vec![], Kind::Wait(Wait::For(Millis(1_000))))
    }));
    let list: Vec<u32> = (0..500).collect();
    let mut world = World::of(&workflow(steps), &json!({"l": list}));
    let mut decisions = vec![world.start()];
    while world.run.has_backlog() {
        decisions.push(world.act(&Command::Advance).unwrap());
    }
    assert_eq!(world.run.head().failure, None);
    assert!(decisions.len() > 2 && decisions.iter().all(|decision| (1..=6).contains(&decision.events.len())), "{}", decisions.len());
    assert_eq!(world.run.open_steps().count(), 8);
}

#[test]
fn a_step_that_is_postponed_is_what_it_would_have_been() {
    let costly = || Some("input.l.all(a, input.l.all(b, a + b >= 0))".to_owned());
    let never = || Some("input.l.all(a, input.l.all(b, a + b >= 0)) == false".to_owned());
    let mut steps: Vec<_> =
        (0..6).map(|index| StepDefinition { condition: never(), ..step(format!("skipped{index}"), vec![], task()) }).collect();
    let wait = || Kind::Wait(Wait::For(Millis(5_000)));
    steps.push(StepDefinition { condition: costly(), timeout: Some(Millis(9_000)), ..step("task".to_owned(), vec![], task()) });
    steps.push(StepDefinition { condition: costly(), ..step("wait".to_owned(), vec![], wait()) });
    let list: Vec<u32> = (0..600).collect();
    let mut world = World::of(&workflow(steps), &json!({"l": list}));
    world.start();
    let mut fired = 0;
    while let Some((due, step, _)) = world.timers().into_iter().next()
        && due == super::world::START
    {
        assert_eq!(world.run.step(&step.unwrap()).unwrap().status, StepStatus::Waiting);
        world.fire_next().unwrap().unwrap();
        fired += 1;
    }
    assert!(fired >= 2, "a decision starts few of them: {fired}");
    while world.run.has_backlog() {
        world.act(&Command::Advance).unwrap();
    }
    assert_eq!(world.state("task").status, StepStatus::Queued);
    assert_eq!(world.state("task").step_deadline, Some(super::world::START.plus(Millis(9_000))));
    assert_eq!(world.state("wait").due, Some(super::world::START.plus(Millis(5_000))));
    assert!((0..6).all(|index| world.state(&format!("skipped{index}")).status == StepStatus::Skipped));
}

#[test]
fn the_expressions_of_a_step_are_bounded_together() {
    let template: Vec<_> = (0..4).map(|_| json!("${input.l.map(a, input.l.map(b, a + b)).size()}")).collect();
    let list: Vec<u32> = (0..500).collect();
    let world = {
        let mut world = World::of(&workflow(vec![step("a".to_owned(), vec![], Kind::Set(json!(template)))]), &json!({"l": list}));
        world.start();
        world
    };
    let failure = world.run.head().failure.clone().unwrap();
    assert!(failure.message.contains("more than 1000000 rounds together"), "{failure:?}");
}

#[test]
fn a_plan_of_10_000_steps_with_distant_reads_is_made() {
    let mut steps = vec![step("s0".to_owned(), vec![], Kind::Set(json!({"x": 1})))];
    for index in 1..STEPS {
        let kind = Kind::Set(json!({"far": "${steps.s0.output.x}", "near": format!("${{steps.s{}.status}}", index - 1)}));
        steps.push(step(format!("s{index}"), vec![format!("s{}", index - 1)], kind));
    }
    let plan = plan(&workflow(steps)).unwrap();
    assert_eq!(plan.critical_path().len(), STEPS);
    assert_eq!(plan.steps[STEPS - 1].level as usize, STEPS - 1);
}

#[test]
fn a_plan_full_of_mistakes_is_refused_in_time() {
    let steps = (0..STEPS)
        .map(|index| StepDefinition {
            condition: Some(format!("steps.nobody{index}.output == 1")),
            ..step(format!("s{index}"), vec![format!("s{}", (index + 1) % STEPS), format!("ghost{index}")], task())
        })
        .collect();
    let problems = plan(&workflow(steps)).unwrap_err();
    assert!(problems.len() > 2 * STEPS);
    assert_eq!(problems.iter().filter(|problem| problem.code == "cycle").count(), 1);
}

#[test]
fn commands_that_are_decided_together_lead_to_the_same_as_one_after_another() {
    let mut steps: Vec<_> = (0..50).map(|index| step(format!("s{index}"), vec![], task())).collect();
    steps.push(step("end".to_owned(), (0..50).map(|index| format!("s{index}")).collect(), task()));
    let mut alone = Bare::start(&workflow(steps.clone()), &json!({}));
    let mut together = Bare::start(&workflow(steps), &json!({}));
    let lease = |index: usize| Command::Lease { step: StepId::from(format!("s{index}").as_str()), worker: worker("w") };
    let complete = |index: usize| {
        let token = Token(53 + index as u64 - 1);
        let attempt = AttemptRef { step: StepId::from(format!("s{index}").as_str()), attempt: 1, token };
        Command::Complete { attempt, outcome: Outcome::Succeeded(None) }
    };
    let commands: Vec<_> = (0..50).map(lease).chain((0..50).map(complete)).collect();
    for command in &commands {
        alone.act(command);
    }
    let mut decisions = Decisions::new(&together.run);
    let mut events = Vec::new();
    for command in &commands {
        let mut context = Context {
            now: super::world::START,
            seed: 0,
            lease: Millis(1),
            cancel_grace: Millis(1),
            allow_unverified: false,
            parks: false,
            credits: &mut NoCredits,
        };
        events.extend(decisions.decide(command, &mut context).unwrap().events);
        decisions.decide(&lease(0), &mut context).expect_err("a rejection changes nothing");
    }
    assert_eq!(decisions.head().steps_ended, 50);
    assert_eq!(together.run.head().steps_ended, 0, "nothing has happened yet");
    apply(&mut together.run, &events);
    assert_eq!((alone.run.head(), alone.run.steps()), (together.run.head(), together.run.steps()));
    assert!(alone.run.derived() == together.run.derived());
    assert_eq!(alone.run.step(&StepId::from("end")).unwrap().status, StepStatus::Queued);
}
