//! Whole clusters in the simulation, as `quorus-chaos sim` runs them.
#![allow(clippy::unwrap_used)]

use std::{path::Path, process::Command};

/// What the program writes, and how it ends.
fn sim(arguments: &[&str]) -> (String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_quorus-chaos")).arg("sim").args(arguments).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

fn log(results: &Path, seed: u64) -> String {
    std::fs::read_to_string(results.join(format!("seed-{seed}/events.log"))).unwrap()
}

#[test]
fn a_seed_gives_the_same_run_to_the_last_byte_and_another_seed_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let run = |seed: &str, name: &str| {
        let results = folder.path().join(name);
        let told = sim(&["--seed", seed, "--minutes", "0.7", "--results", results.to_str().unwrap()]);
        (told, log(&results, seed.parse().unwrap()))
    };
    let (first, second) = (run("2", "a"), run("2", "b"));
    let differs = first.1.lines().zip(second.1.lines()).find(|(first, second)| first != second);
    assert_eq!(differs, None);
    assert_eq!(first, second);
    assert!(first.1.contains("fault 1 ") && first.1.contains("healing begins"), "{}", first.0.0);
    assert_ne!(first.1, run("3", "c").1);
}

#[test]
fn seeds_are_told_in_order_and_hold() {
    let (told, code) = sim(&["--seed", "11", "--seeds", "3", "--minutes", "0.7", "--jobs", "2"]);
    assert_eq!(code, Some(0), "{told}");
    let seeds: Vec<&str> = told.lines().take(3).map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(seeds, ["seed 11", "seed 12", "seed 13"], "{told}");
    assert!(told.lines().last().unwrap().starts_with("3 seeds valid, 0 violated [], 0 unknown []"), "{told}");
    // The hand-made load has no approvals: random workflows went on.
    let seen = told.lines().find_map(|line| line.strip_prefix("seen: ")).unwrap();
    let approvals = seen.split(", ").find_map(|count| count.strip_prefix("approvals "));
    assert!(approvals.is_some_and(|count| count != "0"), "{seen}");
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_caught_when_all_power_fails() {
    let (told, code) = sim(&["--seed", "4", "--minutes", "1", "--lying-disks", "--no-shrink"]);
    assert!(told.contains("power-loss-all"), "{told}");
    assert!(told.contains("violated: I1: "), "{told}");
    assert_eq!(code, Some(1), "{told}");
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    for arguments in [&["--minutes", "0"][..], &["--minutes", "NaN"], &["--here", "--faults", "1,x"]] {
        assert_eq!(sim(arguments), (String::new(), Some(2)), "{arguments:?}");
    }
}
