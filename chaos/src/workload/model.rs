//! A workflow as the generator means it: what is rendered as a definition, described as a shape, and predicted.
//!
//! Much smaller than the language: only what can be foreseen. Steps of a list are in an order in which each needs only earlier ones.

/// A workflow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// The body.
    pub steps: Vec<Step>,
    /// What comes at the end.
    pub finally: Vec<Step>,
    /// How many runs may be active at a time, for all of this workflow.
    pub active_max: Option<u32>,
    /// A failure is held instead of undone.
    pub hold: bool,
    /// Inputs are `{"variant": n}` with `n` below this; at least 1.
    pub variants: u32,
    /// The step whose status is the output.
    pub output_of: Option<String>,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Unique in the workflow.
    pub id: String,
    /// Earlier steps of the same list.
    pub needs: Vec<Need>,
    /// `if`: it runs only in runs of this variant.
    pub only_variant: Option<u32>,
    /// After which ends of its needs it runs. Nothing needs a step that is not [`RunOn::Success`].
    pub run_on: RunOn,
    /// Its failure is handled.
    pub continue_on_error: bool,
    /// Without one: the language's default, 3 attempts.
    pub retry: Option<Retry>,
    /// What undoes it; only of tasks.
    pub undo: Option<Undo>,
    /// What it does.
    pub kind: Kind,
}

/// A step that must end first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its id.
    pub step: String,
    /// What is good enough; empty means the short form.
    pub accept: Vec<Accept>,
}

/// An end of a needed step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// It succeeded.
    Succeeded,
    /// It failed, and that was handled.
    Failed,
    /// It was skipped.
    Skipped,
}

/// See the language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunOn {
    /// All needs ended as accepted.
    #[default]
    Success,
    /// A need failed.
    Failure,
    /// All needs ended.
    Always,
}

/// A retry policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// With the first.
    pub max_attempts: u32,
    /// Before the second attempt.
    pub initial_ms: u64,
    /// True: each pause is twice the one before.
    pub doubled: bool,
    /// True: anything between 0 and the pause.
    pub jitter: bool,
}

/// What undoes a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    /// What it does.
    pub work: Work,
    /// Its policy.
    pub retry: Retry,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A worker works.
    Task(Work),
    /// Time passes.
    Wait {
        /// How much.
        ms: u64,
    },
    /// Computes something.
    Set,
    /// The driver sends a signal with the step's id as name.
    Signal,
    /// A signal that nobody sends: times out.
    Silence {
        /// After this time.
        timeout_ms: u64,
    },
    /// The driver decides.
    Approval {
        /// Its word.
        approve: bool,
    },
    /// A scope.
    Group(Vec<Step>),
    /// A scope for each item.
    ForEach {
        /// The items.
        items: Vec<Item>,
        /// At a time.
        max_parallel: u32,
        /// So many may fail.
        max_failures: u32,
        /// For each.
        steps: Vec<Step>,
    },
    /// A scope again and again.
    Repeat {
        /// The condition holds after so many.
        wanted: u32,
        /// It fails after so many.
        most: u32,
        /// In each.
        steps: Vec<Step>,
    },
    /// A run of another workflow of the same catalogue.
    Child {
        /// Its name.
        workflow: String,
        /// Its input.
        variant: u32,
    },
    /// Fails.
    Fail,
}

/// An item of a [`Kind::ForEach`]: what its tasks with [`Work::by_item`] do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// Failures before success.
    pub fail_attempts: u32,
    /// It never succeeds.
    pub fail_for_good: bool,
}

/// What a task does. The worker reads the same from its input, see [`super::tasks`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// How long an attempt takes.
    pub ms: u64,
    /// The first attempts fail; another one may help.
    pub fail_attempts: u32,
    /// The attempt after those fails in a way that no other attempt can help.
    pub fail_for_good: bool,
    /// Failing attempts are sure to have changed nothing.
    pub nothing_done: bool,
    /// The first attempt gives the task back.
    pub release: bool,
    /// Checkpoints on the way.
    pub checkpoint: bool,
    /// How many effects.
    pub effects: u32,
    /// A task whose output goes into the input.
    pub from: Option<String>,
    /// `fail_attempts` and `fail_for_good` are those of the item.
    pub by_item: bool,
}

impl Retry {
    /// What the language does without a policy.
    pub const DEFAULT: Self = Self { max_attempts: 3, initial_ms: 1000, doubled: true, jitter: true };
    /// No second try.
    pub const NEVER: Self = Self { max_attempts: 1, initial_ms: 100, doubled: false, jitter: false };
}

impl Kind {
    /// The word of the language.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Task(_) => "task",
            Self::Wait { .. } => "wait",
            Self::Set => "set",
            Self::Signal | Self::Silence { .. } => "signal",
            Self::Approval { .. } => "approval",
            Self::Group(_) => "group",
            Self::ForEach { .. } => "for_each",
            Self::Repeat { .. } => "repeat",
            Self::Child { .. } => "workflow",
            Self::Fail => "fail",
        }
    }

    /// The steps inside, with true if they are items or iterations.
    pub fn inside(&self) -> Option<(&[Step], bool)> {
        match self {
            Self::Group(steps) => Some((steps, false)),
            Self::ForEach { steps, .. } | Self::Repeat { steps, .. } => Some((steps, true)),
            _ => None,
        }
    }
}

impl Step {
    /// The policy in force.
    pub fn policy(&self) -> Retry {
        self.retry.unwrap_or(Retry::DEFAULT)
    }
}

impl Definition {
    /// Every step of the body with how often it is instantiated at most; those of containers after their container.
    pub fn walk(&self) -> Vec<(&Step, u32)> {
        fn add<'a>(steps: &'a [Step], times: u32, all: &mut Vec<(&'a Step, u32)>) {
            for step in steps {
                all.push((step, times));
                let inner = match &step.kind {
                    Kind::ForEach { items, .. } => u32::try_from(items.len()).unwrap_or(u32::MAX),
                    Kind::Repeat { wanted, most, .. } => *wanted.min(most),
                    _ => 1,
                };
                let rounds = if step.kind.inside().is_some() { step.retry.map_or(1, |policy| policy.max_attempts) } else { 1 };
                let inner = inner.saturating_mul(rounds);
                if let Some((inside, _)) = step.kind.inside() {
                    add(inside, times.saturating_mul(inner), all);
                }
            }
        }
        let mut all = Vec::new();
        add(&self.steps, 1, &mut all);
        all
    }

    /// Signals that the driver sends, by name, with how many.
    pub fn signals(&self) -> Vec<(String, u32)> {
        self.walk().into_iter().filter(|(step, _)| step.kind == Kind::Signal).map(|(step, times)| (step.id.clone(), times)).collect()
    }

    /// What the driver says to an approval, if the step is one.
    pub fn approval(&self, id: &str) -> Option<bool> {
        self.walk().into_iter().find_map(|(step, _)| match step.kind {
            Kind::Approval { approve } if step.id == id => Some(approve),
            _ => None,
        })
    }
}
