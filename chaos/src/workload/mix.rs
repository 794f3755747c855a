//! What a workload is made of.

/// Which kinds of steps are drawn how often; 0 leaves a kind out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Tasks.
    pub task: u32,
    /// Waits.
    pub wait: u32,
    /// Computed values.
    pub set: u32,
    /// Signals that the driver sends.
    pub signal: u32,
    /// Signals that nobody sends.
    pub silence: u32,
    /// Approvals; needs a cluster that allows unverified ones.
    pub approval: u32,
    /// Groups.
    pub group: u32,
    /// Fan-outs.
    pub for_each: u32,
    /// Loops.
    pub repeat: u32,
    /// Children.
    pub child: u32,
    /// Steps that fail by themselves.
    pub fail: u32,
}

/// The knobs of a workload. Ranges include both ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    /// How many workflows there are, children besides.
    pub workflows: u32,
    /// How many workflows exist to be children.
    pub children: u32,
    /// Steps of a scope.
    pub steps: (u64, u64),
    /// Containers in containers.
    pub depth: u32,
    /// Kinds.
    pub weights: Weights,
    /// How long an attempt takes.
    pub task_ms: (u64, u64),
    /// How long a wait takes.
    pub wait_ms: (u64, u64),
    /// How long a long wait takes.
    pub long_wait_ms: (u64, u64),
    /// How many of the waits are long ones.
    pub long_waits: f64,
    /// How many tasks have attempts that fail before one succeeds.
    pub transient_failures: f64,
    /// How many tasks fail for good.
    pub final_failures: f64,
    /// How many of the failures for good are handled.
    pub handled: f64,
    /// How many tasks have a compensation.
    pub compensated: f64,
    /// How many compensations fail for good.
    pub broken_compensations: f64,
    /// Items of a fan-out.
    pub items: (u64, u64),
    /// Iterations of a loop.
    pub iterations: (u64, u64),
    /// How many workflows bound their active runs.
    pub bounded: f64,
    /// How many workflows hold a failure.
    pub held: f64,
    /// How many workflows have steps at the end.
    pub finally: f64,
    /// How many runs are cancelled.
    pub cancels: f64,
    /// How many runs are terminated.
    pub terminates: f64,
    /// How many runs are paused and resumed.
    pub pauses: f64,
}

impl Mix {
    /// Everything, in moderation.
    pub fn normal() -> Self {
        Self {
            workflows: 16,
            children: 4,
            steps: (3, 8),
            depth: 2,
            weights: Weights {
                task: 60,
                wait: 8,
                set: 5,
                signal: 4,
                silence: 1,
                approval: 2,
                group: 6,
                for_each: 6,
                repeat: 4,
                child: 4,
                fail: 1,
            },
            task_ms: (0, 150),
            wait_ms: (20, 500),
            long_wait_ms: (5_000, 20_000),
            long_waits: 0.1,
            transient_failures: 0.15,
            final_failures: 0.02,
            handled: 0.4,
            compensated: 0.4,
            broken_compensations: 0.01,
            items: (2, 12),
            iterations: (1, 4),
            bounded: 0.15,
            held: 0.05,
            finally: 0.3,
            cancels: 0.04,
            terminates: 0.02,
            pauses: 0.04,
        }
    }

    /// Few steps, short times: many runs in little time.
    pub fn small() -> Self {
        Self {
            workflows: 8,
            children: 2,
            steps: (2, 4),
            depth: 1,
            task_ms: (0, 30),
            wait_ms: (10, 100),
            long_waits: 0.0,
            items: (2, 4),
            iterations: (1, 2),
            ..Self::normal()
        }
    }

    /// Deep and wide.
    pub fn heavy() -> Self {
        Self {
            workflows: 24,
            children: 6,
            steps: (6, 20),
            depth: 3,
            // Many steps: with more, hardly a run would end well.
            final_failures: 0.003,
            weights: Weights { fail: 0, ..Self::normal().weights },
            task_ms: (0, 400),
            long_waits: 0.25,
            long_wait_ms: (10_000, 60_000),
            items: (4, 40),
            iterations: (2, 8),
            ..Self::normal()
        }
    }

    /// A preset by its name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "small" => Some(Self::small()),
            "default" => Some(Self::normal()),
            "heavy" => Some(Self::heavy()),
            _ => None,
        }
    }

    /// The longest that a single wait takes.
    pub fn longest_wait_ms(&self) -> u64 {
        if self.long_waits > 0.0 { self.long_wait_ms.1.max(self.wait_ms.1) } else { self.wait_ms.1 }
    }
}
