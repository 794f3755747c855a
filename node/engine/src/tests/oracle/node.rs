//! The steps of random plans, and how their attempts end.

use std::fmt;

/// A step of a random plan.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) id: String,
    /// Positions of earlier siblings.
    pub(super) needs: Vec<usize>,
    pub(super) run_on: Run,
    pub(super) continue_on_error: bool,
    /// Of a task: tries by policy. Of a container: how often its scope is run.
    pub(super) attempts: u32,
    /// It has a compensation, which has this many tries.
    pub(super) undo: Option<u32>,
    pub(super) no_return: bool,
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
    Task,
    Set,
    Group(Vec<Node>),
    Each { items: usize, parallel: usize, tolerated: usize, body: Vec<Node> },
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Succeeded,
    Failed {
        fatal: bool,
        nothing_done: bool,
    },
    TimedOut,
    Abandoned,
    /// Only of an attempt that was asked to stop.
    Stopped {
        nothing_done: bool,
    },
}

/// A live attempt: of a step, or of its compensation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Live {
    /// It was asked to stop.
    pub(super) stopping: bool,
}

/// How the run ends, or where it stops for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Verdict {
    Succeeded,
    Failed,
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
        if self.continue_on_error {
            write!(f, " goes on")?;
        }
        if self.attempts > 1 {
            write!(f, " tries {}", self.attempts)?;
        }
        if let Some(attempts) = self.undo {
            write!(f, " undo {attempts}")?;
        }
        if self.no_return {
            write!(f, " no return")?;
        }
        match &self.kind {
            What::Task => Ok(()),
            What::Set => write!(f, " set"),
            What::Group(body) => write!(f, " group {body:?}"),
            What::Each { items, parallel, tolerated, body } => {
                write!(f, " each {items} by {parallel}, {tolerated} may fail {body:?}")
            }
        }
    }
}

impl Node {
    pub(super) fn body(&self) -> &[Node] {
        match &self.kind {
            What::Group(body) | What::Each { body, .. } => body,
            What::Task | What::Set => &[],
        }
    }
}
