//! What a configuration is made from, and what is said about a wrong one.

use std::{path::Path, time::Duration};

use super::{
    layers::{self, Layer},
    *,
};

const FILE: &str = r#"
listen = "10.0.0.1:7401"
lease = "1m"

[node]
id = 2
data_dir = "/var/lib/quorus"

[peers]
1 = "a.example.org:7401"
2 = "b.example.org:7401"
3 = "c.example.org:7401"

[raft]
profile = "wan"
heartbeat = "400ms"
"#;

fn from_file(text: &str) -> (Layer, Vec<Problem>) {
    let mut problems = Vec::new();
    (file::parse(Path::new("quorus.toml"), text, &mut problems), problems)
}

fn from_env(variables: &[(&str, &str)]) -> Layer {
    layers::environment(variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())), &mut Vec::new())
}

fn from_flags(flags: &[(&str, &str)]) -> Layer {
    layers::flags(|flag| flags.iter().find(|(name, _)| *name == flag).map(|(_, text)| (*text).to_owned()))
}

fn problems_of(layers: impl IntoIterator<Item = Layer>) -> String {
    resolve(layers, Vec::new()).unwrap_err().to_string()
}

#[test]
fn a_node_that_is_told_nothing_is_alone_with_the_defaults() {
    let resolved = resolve([], Vec::new()).unwrap();
    assert_eq!(resolved.config, Config::alone(1, "quorus-data"));
    assert_eq!(resolved.values.len(), setting::SETTINGS.len(), "every setting is shown");
    assert!(resolved.values.iter().all(|(_, _, origin)| matches!(origin, Origin::Default(_))));
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let (file, problems) = from_file(FILE);
    let env = from_env(&[("QUORUS_LEASE", "2m"), ("QUORUS_SHARDS", "8"), ("QUORUS_LOG_LEVEL", ""), ("RUST_LOG", "debug")]);
    let flags = from_flags(&[("shards", "4"), ("bootstrap-expect", "3")]);
    let resolved = resolve([file, env, flags], problems).unwrap();
    let config = &resolved.config;
    assert_eq!((config.node.id, config.lease, config.shards), (2, Duration::from_secs(120), 4));
    assert_eq!(config.advertise, "b.example.org:7401", "its own entry in peers");
    assert_eq!(config.replication_factor, 3);
    assert_eq!(config.raft.election_max, Duration::from_secs(3), "the profile sets what is not set");
    assert_eq!(config.log.level, "debug", "an empty variable is not set");
    insta::assert_snapshot!("printed", print::table(&resolved));
}

#[test]
fn what_is_printed_as_a_file_says_the_same() {
    let (file, problems) = from_file(FILE);
    let resolved = resolve([file], problems).unwrap();
    let printed = print::toml(&resolved);
    let (again, problems) = from_file(&printed);
    assert_eq!(problems, [], "{printed}");
    assert_eq!(resolve([again], Vec::new()).unwrap().config, resolved.config, "{printed}");
    let json: serde_json::Value = serde_json::from_str(&print::json(&resolved)).unwrap();
    assert_eq!(json["peers"]["value"]["3"], "c.example.org:7401");
    assert_eq!(json["node.id"]["value"], 2);
    assert_eq!(json["node.id"]["origin"], "quorus.toml:6");
}

#[test]
fn all_problems_are_told_at_once_with_their_places() {
    let (file, problems) = from_file(
        "shard = 16\nlease = 30\ncancel_grace = true\n\n[raft]\nhartbeat = \"1s\"\nelection_min = \"soon\"\n\n[log]\nformat = \"jason\"\n\n[peers]\n1 = \"a:7401\"\n",
    );
    let env = from_env(&[("QUORUS_SHARDS", "0"), ("QUORUS_HTTP_LISTEN", "localhost")]);
    let flags = from_flags(&[("replication-factor", "3"), ("limits-reads", "0")]);
    insta::assert_snapshot!("problems", resolve([file, env, flags], problems).unwrap_err().to_string());
}

#[test]
fn a_broken_file_is_told_with_its_line() {
    let (_, problems) = from_file("listen = \"127.0.0.1:1\"\nshards = = 3\n");
    assert_eq!(problems.first().map(|problem| problem.origin.clone()), Some(Origin::File("quorus.toml".into(), 2)), "{problems:?}");
}

#[test]
fn a_node_must_be_among_its_peers_and_say_which_it_is() {
    let peers = ("peers", "1=a:7401,2=b:7401,3=c:7401");
    assert!(problems_of([from_flags(&[peers])]).contains("node.id is needed"));
    assert!(problems_of([from_flags(&[peers, ("node-id", "4")])]).contains("this node (4) is not among the peers"));
}

#[test]
fn a_cluster_is_only_made_by_a_majority_that_was_asked_for() {
    let peers = [("peers", "1=a:7401,2=b:7401,3=c:7401"), ("node-id", "1")];
    let resolved = resolve([from_flags(&peers)], Vec::new()).unwrap();
    assert_eq!(resolved.config.bootstrap_expect, 0, "never by itself");
    let minority = from_flags(&[peers[0], peers[1], ("bootstrap-expect", "1")]);
    assert!(problems_of([minority]).contains("two clusters could be made"));
}

#[test]
fn an_address_that_others_cannot_reach_is_refused() {
    assert!(problems_of([from_flags(&[("listen", "0.0.0.0:7401")])]).contains("set advertise"));
    assert!(resolve([from_flags(&[("listen", "0.0.0.0:7401"), ("advertise", "node-1:7401")])], Vec::new()).is_ok());
}

#[test]
fn elections_need_more_patience_than_heartbeats() {
    assert!(problems_of([from_flags(&[("raft-heartbeat", "200ms")])]).contains("at least two heartbeats (400ms)"));
    assert!(problems_of([from_flags(&[("raft-election-min", "450ms")])]).contains("must be longer than raft.election_min"));
}

#[test]
fn a_near_miss_in_the_environment_is_a_warning_and_a_stranger_is_not() {
    let mut warnings = Vec::new();
    let names = ["QUORUS_SHARD", "QUORUS_SERVICE_HOST", "QUORUS_ENDPOINTS", "HOME"];
    layers::environment(names.map(|name| (name.to_owned(), "1".to_owned())), &mut warnings);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].to_string(), "env QUORUS_SHARD: is not a setting and is ignored; did you mean 'QUORUS_SHARDS'?");
}

#[test]
fn flags_and_environment_names_are_unique() {
    let mut flags: Vec<_> = setting::SETTINGS.iter().map(|setting| setting.flag).collect();
    flags.sort_unstable();
    flags.dedup();
    assert_eq!(flags.len(), setting::SETTINGS.len());
}

#[test]
fn every_setting_is_in_the_operators_handbook() {
    let handbook = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md")).unwrap();
    for setting in setting::SETTINGS {
        assert!(handbook.contains(&format!("`{}`", setting.key)), "docs/operations.md lacks {}", setting.key);
        assert!(handbook.contains(&format!("`{}`", setting.env())), "docs/operations.md lacks {}", setting.env());
    }
}

mod values {
    use std::time::Duration;

    use super::super::value::*;

    #[test]
    fn durations_are_read_as_people_write_them_and_back() {
        for (text, ms) in [("30s", 30_000), ("500ms", 500), ("1h 30m", 5_400_000), ("1m30s", 90_000), ("2d", 172_800_000), ("0s", 0)] {
            let read = duration(text).unwrap();
            assert_eq!(read, Duration::from_millis(ms), "{text}");
            assert_eq!(duration(&format_duration(read)), Ok(read));
        }
        assert_eq!(duration("30").unwrap_err(), "'30' has no unit; write for example 30s or 30ms");
        for wrong in ["", "soon", "s", "1.5s", "-1s", "1y", "99999999999999999999s", "999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_need_a_host_and_a_port() {
        for right in ["node-1:7401", "10.0.0.1:1", "[::1]:7401", "a.b.c:65535"] {
            assert_eq!(host_port(right), Ok(right.to_owned()));
        }
        for wrong in ["", "node", ":7401", "node:", "node:0", "node:70000", "http://node:7401", "[]:1"] {
            assert!(host_port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn peers_are_read_and_written_back_and_never_twice() {
        let read = peers("2=b:7401, 1=a:7401").unwrap();
        assert_eq!(format_peers(&read), "1=a:7401,2=b:7401");
        for wrong in ["", "1", "0=a:1", "x=a:1", "1=a", "1=a:1,1=b:1", "1=a:1,2=a:1"] {
            assert!(peers(wrong).is_err(), "{wrong}");
        }
    }
}
