//! Which links a network fault touches, and with which rules. Pure: knows names, opens nothing.

use std::{collections::BTreeMap, time::Duration};

use anyhow::bail;

use super::{
    keeper::Aim,
    proxy::{Flow, Rules},
};
use crate::stage::play::{LinkName, Party};

/// Rules by link.
pub(super) type Cuts = BTreeMap<LinkName, Rules>;

/// The rules of a fault that lasts. `nodes` are all nodes.
pub(super) fn rules(aim: &Aim, nodes: &[u64]) -> anyhow::Result<Cuts> {
    let mut cuts = Cuts::new();
    let how = if aim.settled.text("how") == "refuse" { Rules { refuse: true, ..Rules::default() } } else { Rules::cut() };
    let (inside, outside): (Vec<u64>, Vec<u64>) = nodes.iter().partition(|node| aim.chosen.contains(node));
    match aim.kind.name {
        "partition" | "isolate-leader" => {
            if outside.is_empty() {
                bail!("nobody is left on the other side");
            }
            both_ways(&mut cuts, &inside, &outside, how);
            if aim.settled.is_yes("clients") {
                cuts.extend(inside.iter().map(|to| (LinkName { from: Party::Client, to: *to }, how)));
            }
        }
        "partition-one-way" => {
            let out = aim.settled.text("direction") == "out";
            for (here, there) in touched(aim, nodes) {
                one_way(&mut cuts, if out { (here, there) } else { (there, here) }, true);
            }
        }
        "partition-ring" => ring(&mut cuts, nodes, how)?,
        "partition-bridge" => {
            let (left, right) = outside.split_at(outside.len() / 2);
            if left.is_empty() {
                bail!("a bridge needs two others at least");
            }
            both_ways(&mut cuts, left, right, how);
        }
        "stall" => {
            for (here, there) in touched(aim, nodes) {
                if aim.settled.text("direction") != "in" {
                    one_way(&mut cuts, (here, there), false);
                }
                if aim.settled.text("direction") != "out" {
                    one_way(&mut cuts, (there, here), false);
                }
            }
        }
        "latency" => {
            let ms = |name| Duration::from_millis(aim.settled.number(name));
            let slow = Rules::both(Flow { delay: ms("delay-ms"), jitter: ms("jitter-ms"), ..Flow::default() });
            cuts.extend(links(aim, nodes).into_iter().map(|link| (link, slow)));
        }
        "bandwidth" => {
            let narrow = Rules::both(Flow { bytes_per_second: Some(aim.settled.number("bytes-per-second")), ..Flow::default() });
            cuts.extend(links(aim, nodes).into_iter().map(|link| (link, narrow)));
        }
        "refuse" => cuts.extend(links(aim, nodes).into_iter().map(|link| (link, Rules { refuse: true, ..Rules::default() }))),
        "worker-cut" => {
            let worker_links =
                aim.chosen.iter().flat_map(|worker| aim.from.iter().map(|to| LinkName { from: Party::Worker(*worker), to: *to }));
            cuts.extend(worker_links.map(|link| (link, how)));
        }
        other => bail!("`{other}` is not about links"),
    }
    Ok(cuts)
}

/// All links that have a target at an end, or the one link that was named.
pub(super) fn links(aim: &Aim, nodes: &[u64]) -> Vec<LinkName> {
    if let Some((from, to)) = aim.link {
        return vec![between(from, to)];
    }
    let mut links: Vec<LinkName> =
        touched(aim, nodes).into_iter().flat_map(|(here, there)| [between(here, there), between(there, here)]).collect();
    if aim.settled.is_yes("clients") {
        links.extend(aim.chosen.iter().map(|to| LinkName { from: Party::Client, to: *to }));
    }
    links.sort_unstable();
    links.dedup();
    links
}

/// Every target with everyone else; among targets each pair once.
pub(super) fn touched(aim: &Aim, nodes: &[u64]) -> Vec<(u64, u64)> {
    if let Some(link) = aim.link {
        return vec![link];
    }
    let others = |here: u64| nodes.iter().copied().filter(move |there| *there != here);
    aim.chosen
        .iter()
        .flat_map(|here| others(*here).filter(move |there| !aim.chosen.contains(there) || here < there).map(move |there| (*here, there)))
        .collect()
}

/// What `from` sends does not arrive at `to`: neither its questions, nor its answers. A connection needs both directions, so with `new` none begins.
fn one_way(cuts: &mut Cuts, (from, to): (u64, u64), new: bool) {
    let questions = Rules { hold_new: new, forward: Flow::frozen(), ..Rules::default() };
    let answers = Rules { hold_new: new, backward: Flow::frozen(), ..Rules::default() };
    for (link, rules) in [(between(from, to), questions), (between(to, from), answers)] {
        let known = cuts.entry(link).or_default();
        *known = known.and(rules);
    }
}

fn both_ways(cuts: &mut Cuts, left: &[u64], right: &[u64], rules: Rules) {
    for (left, right) in left.iter().flat_map(|left| right.iter().map(move |right| (*left, *right))) {
        cuts.extend([(between(left, right), rules), (between(right, left), rules)]);
    }
}

/// Each node sees as many neighbours on both sides as make a majority with itself.
fn ring(cuts: &mut Cuts, nodes: &[u64], rules: Rules) -> anyhow::Result<()> {
    let count = nodes.len();
    let reach = (count / 2).div_ceil(2);
    if count < 4 {
        bail!("in a ring of {count} nodes everybody sees everybody; it needs four or more");
    }
    for (place, here) in nodes.iter().enumerate() {
        for (other_place, there) in nodes.iter().enumerate().skip(place + 1) {
            let apart = (other_place - place).min(count - (other_place - place));
            if apart > reach {
                both_ways(cuts, &[*here], &[*there], rules);
            }
        }
    }
    Ok(())
}

fn between(from: u64, to: u64) -> LinkName {
    LinkName { from: Party::Node(from), to }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::fault::catalogue::Kind;

    fn cuts(kind: &str, parameters: &[(&str, &str)], chosen: &[u64], nodes: u64) -> anyhow::Result<Cuts> {
        let kind = Kind::of(kind)?;
        let given = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let aim = Aim { fault: 1, kind, settled: kind.settle(&given)?, chosen: chosen.to_vec(), link: None, from: vec![2], seed: 0 };
        rules(&aim, &(1..=nodes).collect::<Vec<_>>())
    }

    fn names(cuts: &Cuts) -> Vec<String> {
        cuts.keys().map(ToString::to_string).collect()
    }

    /// Who can talk with whom, both ways.
    fn sees(cuts: &Cuts, nodes: u64, here: u64) -> BTreeSet<u64> {
        (1..=nodes)
            .filter(|there| *there == here || !cuts.contains_key(&between(here, *there)) && !cuts.contains_key(&between(*there, here)))
            .collect()
    }

    #[test]
    fn a_partition_cuts_both_directions_to_all_others_and_nothing_else() {
        let isolated = cuts("partition", &[], &[2], 3).unwrap();
        assert_eq!(names(&isolated), ["link-1-2", "link-2-1", "link-2-3", "link-3-2"]);
        assert!(isolated.values().all(|rules| *rules == Rules::cut()));
        let with_clients = cuts("isolate-leader", &[("clients", "yes"), ("how", "refuse")], &[2], 3).unwrap();
        assert_eq!(with_clients.len(), 5);
        assert!(with_clients.values().all(|rules| rules.refuse && !rules.forward.frozen));
        assert!(cuts("partition", &[], &[1, 2, 3], 3).is_err(), "nobody on the other side");
    }

    #[test]
    fn one_way_stops_questions_and_answers_of_the_same_sender() {
        let out = cuts("partition-one-way", &[], &[1], 2).unwrap();
        let (asks, answers) = (out[&between(1, 2)], out[&between(2, 1)]);
        assert!(asks.forward.frozen && !asks.backward.frozen && asks.hold_new);
        assert!(!answers.forward.frozen && answers.backward.frozen && answers.hold_new);
        let into = cuts("partition-one-way", &[("direction", "in")], &[1], 2).unwrap();
        assert!(into[&between(2, 1)].forward.frozen && into[&between(1, 2)].backward.frozen);
    }

    #[test]
    fn in_a_ring_everybody_sees_a_majority_and_no_two_see_the_same() {
        for nodes in [4, 5, 6, 7, 9] {
            let ring = cuts("partition-ring", &[], &[], nodes).unwrap();
            let views: BTreeSet<BTreeSet<u64>> = (1..=nodes).map(|here| sees(&ring, nodes, here)).collect();
            assert_eq!(views.len() as u64, nodes, "{nodes} nodes");
            assert!(views.iter().all(|view| view.len() as u64 > nodes / 2), "{nodes} nodes: {views:?}");
        }
        assert!(cuts("partition-ring", &[], &[], 3).unwrap_err().to_string().contains("four"));
    }

    #[test]
    fn only_the_bridge_sees_both_banks() {
        let bridge = cuts("partition-bridge", &[], &[3], 5).unwrap();
        assert_eq!(sees(&bridge, 5, 3).len(), 5);
        assert_eq!(sees(&bridge, 5, 1), BTreeSet::from([1, 2, 3]));
        assert_eq!(sees(&bridge, 5, 5), BTreeSet::from([3, 4, 5]));
    }

    #[test]
    fn a_stall_leaves_new_connections_alone_and_both_is_both() {
        let stall = cuts("stall", &[], &[1], 2).unwrap();
        assert!(stall.values().all(|rules| rules.forward.frozen && rules.backward.frozen && !rules.hold_new));
        let out = cuts("stall", &[("direction", "out")], &[1], 2).unwrap();
        assert!(out[&between(1, 2)].forward.frozen && !out[&between(1, 2)].backward.frozen);
    }

    #[test]
    fn all_nodes_means_every_link_once_and_a_worker_is_cut_from_the_nodes_that_were_named() {
        assert_eq!(cuts("latency", &[], &[1, 2, 3], 3).unwrap().len(), 6);
        assert_eq!(names(&cuts("worker-cut", &[], &[1], 3).unwrap()), ["link-worker-1-2"]);
    }
}
