//! Adds looks up: how long a condition has held without a break, and what that means. Pure: time comes in.

use std::time::Duration;

use super::Fault;

/// Looks in a row that may go wrong before the attempt fails.
const ERRORS_MAX: u32 = 5;
/// Progress is kept at the latest when it has grown by this, or by a quarter of what is asked for.
const KEEP_EVERY: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Time between two looks.
    pub(super) interval: Duration,
    /// How long the condition must hold; of a guard: be broken.
    pub(super) hold_for: Duration,
    /// True if it watches for the condition being broken.
    pub(super) guard: bool,
    /// True if a look without data is a failure.
    pub(super) no_data_fails: bool,
}

impl Rules {
    /// How much progress may be lost with a node.
    pub(super) fn keep_every(&self) -> Duration {
        (self.hold_for / 4).clamp(Duration::from_millis(1), KEEP_EVERY)
    }

    /// Looks that are further apart leave time in which nobody knows.
    fn gap_max(&self) -> Duration {
        self.interval * 2 + Duration::from_secs(30)
    }
}

/// What one look saw.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Look {
    /// The condition holds, or does not.
    Condition(bool),
    /// `fail_if` is true.
    FailIf,
    /// This query had no data.
    NoData(String),
    /// It went wrong.
    Error(String),
}

/// What looks mean together.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Look again.
    GoOn,
    /// The gate is open.
    Passed,
    /// It failed.
    Failed(Fault),
}

/// The sum.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    rules: Rules,
    progress: Duration,
    /// When the last look of an unbroken row was.
    last: Option<Duration>,
    errors: u32,
}

impl Watch {
    /// Begins with what an earlier attempt kept.
    pub(super) fn new(rules: Rules, progress: Duration) -> Self {
        Self { rules, progress, last: None, errors: 0 }
    }

    /// How long it has held, or was broken.
    pub(super) fn progress(&self) -> Duration {
        self.progress
    }

    /// Adds a look at the time `at`, which only rises.
    pub(super) fn add(&mut self, at: Duration, look: Look) -> Verdict {
        if !matches!(look, Look::Error(_)) {
            self.errors = 0;
        }
        let holds = match look {
            Look::Error(why) => {
                self.errors += 1;
                // What was seen stays seen; the time until the next good look does not count.
                self.last = None;
                if self.errors >= ERRORS_MAX {
                    let message = format!("{} looks in a row went wrong: {why}", self.errors);
                    return Verdict::Failed(Fault::new("QuorusGateUnavailable", message).nothing_done());
                }
                return Verdict::GoOn;
            }
            Look::NoData(query) if self.rules.no_data_fails => {
                return Verdict::Failed(Fault::new("QuorusGateNoData", format!("query `{query}` has no data")).nothing_done());
            }
            // Nobody can say that a condition holds, or is broken, without data.
            Look::NoData(_) => false,
            Look::FailIf => {
                return Verdict::Failed(Fault::new("QuorusGateFailed", "`fail_if` is true").final_one().nothing_done());
            }
            Look::Condition(condition) => condition != self.rules.guard,
        };
        if !holds {
            (self.progress, self.last) = (Duration::ZERO, None);
            return Verdict::GoOn;
        }
        if let Some(last) = self.last
            && at - last <= self.rules.gap_max()
        {
            self.progress += at - last;
        }
        self.last = Some(at);
        if self.progress < self.rules.hold_for {
            return Verdict::GoOn;
        }
        if self.rules.guard {
            let message = match self.progress.as_secs() {
                0 => "the condition is broken".to_owned(),
                seconds => format!("the condition has been broken for {seconds} s"),
            };
            Verdict::Failed(Fault::new("QuorusGuardBreached", message).final_one().nothing_done())
        } else {
            Verdict::Passed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rules(hold_s: u32, guard: bool) -> Rules {
        Rules { interval: SECOND, hold_for: SECOND * hold_s, guard, no_data_fails: false }
    }

    /// Looks once a second; returns the verdicts as one letter each.
    fn verdicts(rules: Rules, kept: Duration, looks: &str) -> String {
        let mut watch = Watch::new(rules, kept);
        let letter = |(second, look): (u32, char)| {
            let look = match look {
                't' => Look::Condition(true),
                'f' => Look::Condition(false),
                'n' => Look::NoData("value".into()),
                'x' => Look::FailIf,
                _ => Look::Error("down".into()),
            };
            match watch.add(SECOND * second, look) {
                Verdict::GoOn => '.',
                Verdict::Passed => 'P',
                Verdict::Failed(_) => 'F',
            }
        };
        (0..).zip(looks.chars()).map(letter).collect()
    }

    #[test]
    fn a_gate_passes_when_its_condition_held_without_a_break() {
        let gate = |hold_s, looks| verdicts(rules(hold_s, false), Duration::ZERO, looks);
        assert_eq!(gate(0, "ft"), ".P", "a single look is enough");
        assert_eq!(gate(2, "ttt"), "..P");
        assert_eq!(gate(2, "ttfttt"), ".....P", "a break begins anew");
        assert_eq!(gate(2, "ttnttt"), ".....P", "so does a look without data");
        assert_eq!(gate(2, "ttett"), "....P", "an error neither counts nor breaks");
        assert_eq!(gate(2, "tx"), ".F");
    }

    #[test]
    fn what_another_node_saw_counts_and_the_time_between_does_not() {
        assert_eq!(verdicts(rules(3, false), SECOND * 2, "tt"), ".P");
        assert_eq!(verdicts(rules(3, false), SECOND * 2, "ft"), "..");
        let mut watch = Watch::new(rules(3, false), Duration::ZERO);
        for second in [0, 1, 100, 101] {
            assert_eq!(watch.add(SECOND * second, Look::Condition(true)), Verdict::GoOn);
        }
        assert_eq!(watch.progress(), SECOND * 2);
    }

    #[test]
    fn a_guard_fails_when_its_condition_was_broken_throughout() {
        let guard = |looks| verdicts(rules(2, true), Duration::ZERO, looks);
        assert_eq!(guard("tttt"), "....");
        assert_eq!(guard("fftfff"), ".....F");
        assert_eq!(guard("ffnf"), "....", "nobody knows that it was broken throughout");
        assert_eq!(verdicts(rules(0, true), Duration::ZERO, "tf"), ".F");
    }

    #[test]
    fn errors_are_bounded_and_retryable_data_that_is_missing_can_be_a_failure() {
        assert_eq!(verdicts(rules(0, false), Duration::ZERO, "eeeefeeeee"), ".........F");
        let mut watch = Watch::new(Rules { no_data_fails: true, ..rules(0, false) }, Duration::ZERO);
        let Verdict::Failed(fault) = watch.add(SECOND, Look::NoData("latency".into())) else { panic!("not a failure") };
        assert!(fault.failure().message.contains("`latency`") && fault.failure().nothing_done && !fault.failure().non_retryable);
    }
}
