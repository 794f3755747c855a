//! Which mutants there are: what is broken, and which invariants say so.

macro_rules! mutants {
    ($($(#[doc = $what:literal])+ $mutant:ident: $name:literal, [$($invariant:literal),+];)+) => {
        /// A planted bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mutant {
            $($(#[doc = $what])+ $mutant,)+
        }

        impl Mutant {
            /// All of them.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$mutant),+];

            /// Its name on command lines and in reports.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$mutant => $name,)+
                }
            }

            /// What is broken, in a sentence.
            pub fn what(self) -> &'static str {
                match self {
                    $(Self::$mutant => concat!($($what),+).trim_start(),)+
                }
            }

            /// The invariants that are made for it, by number (`I12`), the foremost first. It is caught if any of them says so.
            pub const fn invariants(self) -> &'static [&'static str] {
                match self {
                    $(Self::$mutant => &[$($invariant),+],)+
                }
            }

            /// The mutant of a name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|mutant| mutant.name() == name)
            }
        }
    };
}

mutants! {
    // Leases and attempts.
    /// An outcome is accepted whatever token it comes with, so a worker that lost its lease ends the attempt of another.
    NoFenceCheck: "no-fence-check", ["I12", "I4", "I3"];
    /// A new leader gives up inherited leases at once, before their workers could find it.
    ExpireLeasesAtOnce: "expire-leases-at-once", ["I5", "I4"];
    /// Leases end when the node dies that their worker's stream was at.
    LeasesDieWithGateway: "leases-die-with-gateway", ["I5", "I4"];
    /// A node that drains gives up the leases that it granted.
    DroppedDrain: "dropped-drain", ["I5", "I4"];
    /// Another attempt has the number and the token of the one before.
    RetryReusesAttempt: "retry-reuses-attempt", ["I4", "I16"];
    /// One more attempt than the policy allows.
    OneRetryTooMany: "one-retry-too-many", ["I9"];
    /// Another attempt begins at once instead of after its back-off.
    NoBackoff: "no-backoff", ["I9"];

    // Durability and replication.
    /// Starts and outcomes are acknowledged before their record is committed.
    AckBeforeCommit: "ack-before-commit", ["I1", "I3", "I5", "I10"];
    /// Votes and log entries count as durable when they are written, not when they are synced.
    NoFsync: "no-fsync", ["I14", "I1", "I3"];
    /// A value that each replica takes from its own clock gets into the state.
    ReplicaDivergence: "replica-divergence", ["I13"];
    /// The last row of a snapshot's chunk is lost when it is installed.
    TornSnapshot: "torn-snapshot", ["I13", "I1", "I3"];
    /// Reads don't ask a quorum whether this node still leads.
    ReadWithoutQuorumCheck: "read-without-quorum-check", ["I10"];

    // Outcomes and requests.
    /// An outcome that is reported again is recorded again.
    NonIdempotentCompletion: "non-idempotent-completion", ["I3", "I12"];
    /// The output that a worker reported is dropped, and the step succeeds without one.
    LostOutput: "lost-output", ["I3"];
    /// A start that is repeated with its request id is taken for a new one.
    StartDedupOff: "start-dedup-off", ["I1", "I2", "I16"];
    /// A signal that comes before its step waits for it is acknowledged and forgotten.
    LostSignal: "lost-signal", ["I11", "I6"];
    /// A signal that is repeated with its id is taken for a new one.
    DoubledSignal: "doubled-signal", ["I11"];
    /// A cancel that comes while a worker executes is acknowledged and forgotten.
    LostCancel: "lost-cancel", ["I11", "I6"];

    // Order and time.
    /// A step begins when the first of its needs has ended.
    JoinTooEarly: "join-too-early", ["I8"];
    /// Timers fire by a clock that is five seconds ahead.
    EarlyTimers: "early-timers", ["I9"];
    /// Compensations run in the order in which their steps ended, not in the reverse.
    ForwardCompensation: "forward-compensation", ["I7"];
    /// A step that never completed and did nothing is undone all the same.
    CompensatesUnfinished: "compensates-unfinished", ["I7"];
    /// The last step to be undone is left as it is.
    SkippedCompensation: "skipped-compensation", ["I7"];

    // Liveness and load.
    /// A new leader does not look for tasks that wait in queues.
    ForgottenQueue: "forgotten-queue", ["I6"];
    /// Requests are taken without a bound.
    OverloadAbsorbed: "overload-absorbed", ["I17"];
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_mutant_has_a_name_of_its_own_and_says_what_it_is() {
        let names: BTreeSet<_> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
        assert_eq!(names.len(), Mutant::ALL.len());
        for mutant in Mutant::ALL {
            assert_eq!(Mutant::named(mutant.name()), Some(mutant));
            assert!(mutant.what().ends_with('.') && mutant.what().starts_with(char::is_uppercase), "{}", mutant.what());
            assert!(mutant.invariants().iter().all(|invariant| invariant.starts_with('I')));
        }
        assert_eq!(Mutant::named("no-such-mutant"), None);
    }
}
