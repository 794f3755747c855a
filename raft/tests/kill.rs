//! A process that is killed again and again, in the middle of writing: what it acknowledged is there afterwards, in order, and its votes are never taken back.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod support;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use bytes::Bytes;
use quorus_raft::{
    Options,
    disk::{RocksDisk, RocksOptions},
};
use support::{Book, Running};

const FOLDER: &str = "QUORUS_RAFT_KILL_FOLDER";

/// Not a test by itself: the process that is killed. Says which term it leads in, what it found, and what is acknowledged.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let disk = Arc::new(RocksDisk::open(Path::new(&folder), &RocksOptions::default()).unwrap());
        // A small log, so that snapshots and purges happen all the time.
        let options = Options { snapshot_every: 100, keep_logs: 10, ..Options::default() };
        let node = Running::start(1, 1, &Arc::<Book>::default(), disk, options).await;
        let mut leadership = node.group.leadership();
        let term = leadership.wait_for(|leadership| leadership.here).await.unwrap().term;
        node.group.read_barrier().await.unwrap();
        let found = node.records();
        println!("child term {term} found {}", found.join(","));
        let mut next: u64 = found.last().map_or(0, |last| last.parse::<u64>().unwrap() + 1);
        loop {
            let mut pending = Vec::new();
            for _ in 0..20 {
                pending.push((next, node.group.propose_pipelined(term, Bytes::from(next.to_string())).await.unwrap()));
                next += 1;
            }
            for (number, pending) in pending {
                pending.applied().await.unwrap();
                println!("child acked {number}");
            }
        }
    });
}

#[test]
fn all_that_was_acknowledged_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let (mut acked, mut last_term): (Option<u64>, u64) = (None, 0);
    for round in 0..12_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Killed after another number of acknowledgements each time; the pipe holds what was said before.
        let mut until_kill = 1 + round * 37 % 200;
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            // libtest may put its own words before ours.
            let Some(line) = line.split_once("child ").map(|(_, said)| said.to_owned()) else { continue };
            if let Some(number) = line.strip_prefix("acked ") {
                acked = acked.max(Some(number.parse().unwrap()));
                until_kill = until_kill.saturating_sub(1);
                if until_kill == 0 {
                    // A second call fails if it is dead already, which is as well.
                    let _dead = child.kill();
                }
            } else if let Some(rest) = line.strip_prefix("term ") {
                let (term, found) = rest.split_once(" found ").unwrap();
                let term: u64 = term.parse().unwrap();
                assert!(term > last_term, "term {term} after {last_term}: a vote was taken back");
                last_term = term;
                let found: Vec<u64> = found.split(',').filter(|number| !number.is_empty()).map(|number| number.parse().unwrap()).collect();
                let expected: Vec<u64> = (0..found.len() as u64).collect();
                assert_eq!(found, expected, "a hole, or a record twice");
                assert!(acked.is_none_or(|acked| found.len() as u64 > acked), "{acked:?} was acknowledged, {} found", found.len());
            }
        }
        let status = child.wait().unwrap();
        assert!(!status.success(), "it was killed");
    }
    assert!(acked.unwrap() > 500, "it did something in between");
}
