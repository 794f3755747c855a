use super::*;

const WHOLE: &str = r#"
title: What happens when a leader dies?
description: Nothing should.
tags: [kill, leader]
configuration:
  target: {type: env, key: QUORUS_CHAOS_TARGET, default: "stage:x"}
  seconds: 2
secrets:
  api: {token: s3cret}
steady-state-hypothesis:
  title: All nodes are ready
  probes:
    - {type: probe, name: ready, tolerance: 0, provider: {type: process, path: quorus-chaos, arguments: [probe, ready, --target, "${target}"]}}
method:
  - type: action
    name: kill
    provider: {type: process, path: quorus-chaos, arguments: [fault, kill], timeout: 5}
    pauses: {after: "${seconds}"}
    background: true
  - {ref: ready}
rollbacks: []
runtime: {rollbacks: {strategy: always}}
extensions: [{name: quorus, blast_radius: one node, workload: {runs: 3}}, {name: other, anything: 1}]
"#;

#[test]
fn a_whole_experiment_is_read_without_a_remark_but_that_of_its_secret() {
    let (experiment, findings) = read(WHOLE);
    assert_eq!(findings.list.len(), 1, "{}", findings.render("f"));
    assert!(
        findings.render("f").starts_with("f:9:9: warning: /secrets/api/token: a secret is written into the file"),
        "{}",
        findings.render("f")
    );
    let experiment = experiment.unwrap();
    assert_eq!(experiment.method.len(), 2);
    assert_eq!(experiment.method[1].name, "ready", "a reference is resolved");
    assert!(experiment.method[0].background && experiment.method[0].timeout == 5);
    assert_eq!((experiment.game_day.workload.runs, experiment.game_day.stage.nodes), (3, 3));
    assert!(!experiment.raw.to_string().contains("s3cret"));
}

#[test]
fn all_mistakes_are_told_at_once_with_their_places_and_what_to_do() {
    let text = r#"{
  "title": "",
  "methods": [],
  "tags": ["a", 1],
  "steady-state-hypothesis": {"title": "x", "probes": [
    {"type": "probe", "name": "no tolerance", "provider": {"type": "process", "path": "true"}},
    {"type": "probe", "name": "bad pattern", "tolerance": {"type": "regex", "pattern": "("}, "provider": {"type": "process", "path": "true"}}
  ]},
  "method": [
    {"type": "act", "name": "a", "provider": {"type": "process", "path": "true"}},
    {"type": "action", "name": "b", "provider": {"type": "python", "module": "m", "func": "f"}},
    {"type": "action", "name": "c", "provider": {"type": "process"}},
    {"ref": "nobody"},
    {"type": "action", "name": "d", "provider": {"type": "process", "path": "true"}, "pauses": {"before": "long"}},
    {"type": "action", "name": "e ${gone}", "provider": {"type": "http", "url": "http://x", "arguments": {"a": "${gone}"}}}
  ],
  "extensions": [{"name": "quorus", "blast_radios": ""}],
  "runtime": {"rollbacks": {"strategy": "sometimes"}}
}"#;
    let (experiment, findings) = read(text);
    assert!(experiment.is_none());
    let rendered = findings.render("f.json");
    for expected in [
        "f.json:2:3: error: /title: this is empty",
        "f.json:3:3: warning: /methods: this field is not known and is ignored; did you mean `method`?",
        "f.json:1:1: error: `description` is missing",
        "f.json:4:3: error: /tags:",
        "f.json:6:5: error: /steady-state-hypothesis/probes/0: a probe of a hypothesis needs a `tolerance`",
        "/steady-state-hypothesis/probes/1/tolerance/pattern: this is not a regular expression",
        "f.json:10:6: error: /method/0/type: there is no activity of type `act`",
        "/method/1/provider/type: there is no Python in this runner",
        "/method/2/provider: `path` is missing",
        "/method/3/ref: no activity of this experiment has the name `nobody`",
        "/method/4/pauses/before: this must be a number of seconds",
        "/method/5/provider/arguments/a: nothing gives `${gone}`",
        "/extensions/0: the extension `quorus` can't be read: unknown field `blast_radios`",
        "/runtime/rollbacks/strategy: there is no strategy `sometimes`",
    ] {
        assert!(rendered.contains(expected), "missing: {expected}\nin:\n{rendered}");
    }
}

#[test]
fn a_file_that_is_not_there_says_so() {
    let (_, findings) = read_file(Path::new("/nowhere/x.json"));
    assert!(findings.has_errors() && findings.render("x.json").starts_with("x.json: error: can't read the file"));
}
