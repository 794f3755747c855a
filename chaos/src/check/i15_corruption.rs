//! I15: corruption of a minority is refused or repaired, never served.
//!
//! For every node `n` on which bits were flipped, and every shard: the replica of `n` is not exported (it refused to serve), or it agrees (I13) with a
//! replica of the shard on a node on which none were.
//!
//! Sources: faults, replicas. Limits: flips are faults whose kind says `flip` or `corrupt`; with such on every replica of a shard nothing can be said. Reads
//! that were answered from a corrupt replica show in I10. That nothing accepted was lost is I1 to I3.

use std::collections::BTreeSet;

use super::{
    findings::{Findings, Invariant},
    i13_replicas_agree,
    joined::Joined,
};
use crate::record::{FaultPhase, Replica};

pub(super) const INVARIANT: Invariant = Invariant { id: "I15", title: "corruption of a minority is never served", check };

fn check(joined: &Joined<'_>, findings: &mut Findings) {
    let flips = joined.evidence.faults.iter().filter(|fault| {
        matches!(fault.phase, FaultPhase::Installed | FaultPhase::Indeterminate)
            && ["flip", "corrupt"].iter().any(|word| fault.kind.contains(word))
    });
    let corrupt: BTreeSet<u64> =
        flips.flat_map(|fault| &fault.targets).filter_map(|target| target.split('/').next()?.strip_prefix("node-")?.parse().ok()).collect();
    if corrupt.is_empty() {
        return findings.not_applicable("no bits were flipped");
    }
    let shards: BTreeSet<u32> = joined.evidence.replicas.iter().map(|replica| replica.shard).collect();
    for shard in shards {
        let of_shard = || joined.evidence.replicas.iter().filter(|replica| replica.shard == shard);
        let (suspects, healthy): (Vec<&Replica>, Vec<&Replica>) = of_shard().partition(|replica| corrupt.contains(&replica.node));
        if healthy.is_empty() {
            findings.unknown(format!("bits were flipped on every node that has shard {shard}"));
            continue;
        }
        // A node that does not show the shard refuses it, which is as it must be.
        let refusing = corrupt.len() - suspects.len().min(corrupt.len());
        (0..refusing).for_each(|_| findings.look());
        for suspect in suspects {
            findings.absorb(compared(joined, suspect, &healthy));
        }
    }
}

/// What is found beside the healthy replica that a suspect agrees with, or beside any if it agrees with none.
fn compared(joined: &Joined<'_>, suspect: &Replica, healthy: &[&Replica]) -> Findings {
    let mut last = Findings::default();
    for replica in healthy {
        let (most, other) = if suspect.index > replica.index { (suspect, *replica) } else { (*replica, suspect) };
        last = Findings::default();
        i13_replicas_agree::agree(joined, most, other, &mut last);
        if last.is_clean() {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use crate::check::testing::{Scene, assert_only, result};
    use crate::check::verdict::Verdict;
    use crate::record::Evidence;

    fn legal(kind: &str) -> Evidence {
        let mut scene = Scene::new();
        let run = scene.start("r", "w");
        scene.fault(kind, "node-3", 1_000);
        scene.task(&run, "a");
        scene.succeed(&run);
        scene.evidence()
    }

    #[test]
    fn a_replica_that_refuses_or_was_repaired_is_legal() {
        assert_only(&legal("bit-flip"), &[]);
        assert_eq!(result(&legal("bit-flip"), "I15").verdict, Verdict::Valid);
        let mut evidence = legal("bit-flip");
        evidence.replicas.retain(|replica| replica.node != 3);
        assert_only(&evidence, &[]);
        assert_eq!(result(&evidence, "I15").verdict, Verdict::Valid);
        assert_eq!(result(&legal("kill"), "I15").verdict, Verdict::NotApplicable);
    }

    #[test]
    fn a_replica_that_serves_something_else_is_found() {
        let mut evidence = legal("bit-flip");
        evidence.replicas[2].digest = "other".to_owned();
        assert_only(&evidence, &["I13", "I15"]);
        // On a healthy node it is another invariant's business.
        let mut evidence = legal("bit-flip");
        evidence.replicas[1].digest = "other".to_owned();
        assert_only(&evidence, &["I13"]);
    }

    #[test]
    fn with_every_replica_corrupt_nothing_is_known() {
        let mut evidence = legal("bit-flip");
        evidence.replicas.retain(|replica| replica.node == 3);
        assert_eq!(result(&evidence, "I15").verdict, Verdict::Unknown);
    }
}
