//! The steps of random plans, and how what they do ends.

use std::fmt;

/// A step of a random plan.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) id: String,
    /// Positions of earlier siblings.
    pub(super) needs: Vec<usize>,
    pub(super) run_on: Run,
    /// Its own condition is false.
    pub(super) off: bool,
    pub(super) continue_on_error: bool,
    /// Of a task or child: tries by policy. Of a container: how often its scope is run.
    pub(super) attempts: u32,
    /// It has a compensation, which has this many tries.
    pub(super) undo: Option<u32>,
    pub(super) no_return: bool,
    /// It may take too long.
    pub(super) timeout: bool,
    pub(super) kind: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    Success,
    Failure,
    Always,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Task(Executor),
    Set,
    Fail,
    Wait,
    /// `only`: it takes signals with this number.
    Signal {
        name: &'static str,
        only: Option<u8>,
        buffered: bool,
    },
    Approval {
        required: usize,
    },
    /// `undoes`: it undoes itself for its parent. `stays`: it goes on without its parent.
    Child {
        undoes: bool,
        stays: bool,
    },
    Group(Vec<Node>),
    Each {
        items: usize,
        parallel: usize,
        tolerated: usize,
        body: Vec<Node>,
    },
    /// Its condition holds after this many iterations.
    Repeat {
        until: usize,
        most: usize,
        body: Vec<Node>,
    },
}

/// Who executes the attempts of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Executor {
    Worker,
    Http,
    Gate,
}

/// How an attempt, a child or a waiting ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Succeeded,
    Failed {
        fatal: bool,
        nothing_done: bool,
    },
    TimedOut,
    Abandoned,
    Released,
    /// Only of an attempt that was asked to stop.
    Stopped {
        nothing_done: bool,
    },
    /// Of an attempt that was asked to stop, and did not.
    Cut,
    /// The step's own time is over.
    StepTimedOut,
    /// Of a child.
    Child(ChildEnd),
    /// Of an approval: what one of a few people says.
    Word {
        who: u8,
        yes: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChildEnd {
    Failed { fatal: bool },
    Cancelled,
    Terminated,
    Refused,
}

/// What is open and not a container: an attempt, a child, or a waiting of a step or of its compensation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Live {
    pub(super) doing: Doing,
    /// It was asked to stop.
    pub(super) stopping: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Doing {
    Attempt,
    Sleep,
    Signal,
    Approval,
    Child,
}

/// How the run ends, or where it stops for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Verdict {
    Succeeded,
    Failed,
    Cancelled,
    NeedsAttention,
}

/// On one line, so that a counter-example can be read.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        if !self.needs.is_empty() {
            write!(f, " after {:?}", self.needs)?;
        }
        if self.run_on != Run::Success {
            write!(f, " on {:?}", self.run_on)?;
        }
        for (is_so, word) in
            [(self.off, "off"), (self.continue_on_error, "goes on"), (self.no_return, "no return"), (self.timeout, "times out")]
        {
            if is_so {
                write!(f, " {word}")?;
            }
        }
        if self.attempts > 1 {
            write!(f, " tries {}", self.attempts)?;
        }
        if let Some(attempts) = self.undo {
            write!(f, " undo {attempts}")?;
        }
        match &self.kind {
            What::Task(Executor::Worker) => Ok(()),
            What::Group(body) => write!(f, " group {body:?}"),
            What::Each { items, parallel, tolerated, body } => {
                write!(f, " each {items} by {parallel}, {tolerated} may fail {body:?}")
            }
            What::Repeat { until, most, body } => write!(f, " repeat until {until} of {most} {body:?}"),
            other => write!(f, " {other:?}"),
        }
    }
}

impl Node {
    pub(super) fn body(&self) -> &[Node] {
        match &self.kind {
            What::Group(body) | What::Each { body, .. } | What::Repeat { body, .. } => body,
            What::Task(_) | What::Set | What::Fail | What::Wait | What::Signal { .. } | What::Approval { .. } | What::Child { .. } => &[],
        }
    }

    pub(super) fn is_container(&self) -> bool {
        matches!(self.kind, What::Group(_) | What::Each { .. } | What::Repeat { .. })
    }
}
