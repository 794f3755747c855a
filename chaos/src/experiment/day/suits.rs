//! Whether an experiment can be held on a cluster of `quorusd dev`, looked at before anything begins: its processes can be acted on, its links and
//! disks can't, and a node that was ended must come back by itself.

use anyhow::bail;
use serde_json::Value;

use super::super::model::{Experiment, Provider};
use crate::fault::catalogue::Kind;

/// Faults after which a node is gone.
const END_NODES: [&str; 5] = ["kill", "stop", "restart", "kill-all", "rolling-restart"];

/// Fails with what to do instead. `comes_back`: whether nodes of the cluster that end are started again.
pub(super) fn must_suit_dev(experiment: &Experiment, comes_back: bool) -> anyhow::Result<()> {
    for kind in experiment.method.iter().filter_map(|activity| fault_of(&activity.provider)) {
        if !kind.needs.contains(&"dev") {
            bail!("`{}` can't be made on a cluster of `quorusd dev`; leave --target out, and a cluster is made for the day", kind.name);
        }
        if END_NODES.contains(&kind.name) && !comes_back {
            bail!("`{}` ends nodes, and those of this cluster stay away then; start it again with: quorusd dev --restart", kind.name);
        }
    }
    Ok(())
}

/// The fault that an activity makes, if it is one of ours.
fn fault_of(provider: &Provider) -> Option<&'static Kind> {
    let Provider::Process { arguments: Value::Array(arguments), .. } = provider else { return None };
    match arguments.as_slice() {
        [Value::String(verb), Value::String(kind), ..] if verb == "fault" => Kind::of(kind).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{library, read::read};

    fn suits(name: &str, comes_back: bool) -> Result<(), String> {
        let (experiment, _) = read(&library::find(name).unwrap().text);
        must_suit_dev(&experiment.unwrap(), comes_back).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_dev_cluster_can_not_stand_is_refused_before_anything_begins() {
        assert_eq!(suits("leader-kill", true), Ok(()));
        assert_eq!(suits("paused-leader", false), Ok(()));
        assert!(suits("leader-kill", false).unwrap_err().contains("quorusd dev --restart"));
        assert!(suits("leader-isolated", true).unwrap_err().contains("leave --target out"));
    }
}
