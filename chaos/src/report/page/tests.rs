use quorus_client::{LedgerEntry, LedgerEvent};

use super::{
    super::material::{Counterexample, Invariant, Judged, Testimony},
    *,
};
use crate::record::{Answer, Call, Ending, Evidence, Fault, FaultPhase, Operation, RecordedRun, Replica, evidence::Setup};

const NASTY: &str = "<script>alert('x')</script>&\"";

fn start(id: u64, run_id: &str, invoked_us: u64, ending: Option<Ending>) -> Operation {
    let call = Call::Start {
        run_id: run_id.to_owned(),
        request_id: format!("{run_id}-q"),
        workflow: "release".to_owned(),
        input_sha256: String::new(),
        retried: false,
    };
    Operation { id, client: "client-1".to_owned(), call, invoked_us, ended_us: ending.is_some().then_some(invoked_us + 4_000), ending }
}

fn entry(event: LedgerEvent, run_id: &str, attempt: u32, mono_us: u64, outcome: &str) -> LedgerEntry {
    LedgerEntry {
        event,
        namespace: "default".to_owned(),
        run_id: run_id.to_owned(),
        run_uid: format!("uid-{run_id}"),
        step: "build".to_owned(),
        attempt,
        token: u64::from(attempt) * 10,
        worker: "worker-1".to_owned(),
        time_ms: 0,
        mono_us,
        input_sha256: String::new(),
        output_sha256: String::new(),
        outcome: outcome.to_owned(),
    }
}

fn material() -> Material {
    let ok = || Some(Ending::Ok(Answer { run_uid: "uid-a".to_owned(), status: "RUN_STATUS_RUNNING".to_owned(), ..Answer::default() }));
    let fault = |phase, at_us| Fault {
        id: 1,
        kind: "kill".to_owned(),
        targets: vec!["node-2".to_owned()],
        phase,
        at_us,
        led_shards: vec![1, 3],
        note: NASTY.to_owned(),
    };
    let runs = ["a", "b"].map(|id| RecordedRun {
        run_id: id.to_owned(),
        run_uid: format!("uid-{id}"),
        workflow: "release".to_owned(),
        status: "RUN_STATUS_SUCCEEDED".to_owned(),
        ..RecordedRun::default()
    });
    let evidence = Evidence {
        setup: Setup {
            title: "t".to_owned(),
            seed: 7,
            expects: [("kill".to_owned(), 1), ("lease-expiry".to_owned(), 1)].into(),
            ..Setup::default()
        },
        operations: vec![
            start(1, "a", 1_000_000, ok()),
            start(2, "b", 1_500_000, Some(Ending::Info { what: NASTY.to_owned() })),
            start(3, "c", 2_000_000, None),
        ],
        ledger: vec![
            entry(LedgerEvent::Begin, "a", 1, 1_100_000, ""),
            entry(LedgerEvent::Effect, "a", 1, 1_200_000, ""),
            entry(LedgerEvent::End, "a", 1, 1_300_000, "failed"),
            entry(LedgerEvent::Begin, "a", 2, 1_400_000, ""),
        ],
        faults: vec![fault(FaultPhase::Installed, 1_250_000), fault(FaultPhase::Healed, 1_900_000)],
        replicas: vec![Replica { node: 1, shard: 1, runs: runs.to_vec(), ..Replica::default() }],
        ..Evidence::default()
    };
    let violation = Counterexample {
        summary: NASTY.to_owned(),
        run: "uid-b".to_owned(),
        step: "build".to_owned(),
        evidence: vec![Testimony { at_us: 1_300_000, who: "worker-1".to_owned(), said: "ended".to_owned() }],
    };
    let invariant = |id: &str, verdict: &str, violations: Vec<Counterexample>| Invariant {
        id: id.to_owned(),
        title: format!("{id} holds"),
        verdict: verdict.to_owned(),
        checked: 1_234,
        violated: violations.len() as u64,
        violations,
        ..Invariant::default()
    };
    Material {
        evidence,
        judged: Some(Judged {
            verdict: "violated".to_owned(),
            invariants: vec![invariant("I1", "valid", Vec::new()), invariant("I3", "violated", vec![violation])],
            coverage: json!({"faults": {"kill": 1}}),
            ..Judged::default()
        }),
        experiment: json!({"title": NASTY, "description": NASTY}),
        ..Material::default()
    }
}

#[test]
fn what_comes_from_outside_never_becomes_markup_and_nothing_is_fetched() {
    let html = render(&material());
    assert!(!html.contains("<script>alert"), "a text became markup");
    assert_eq!(html.matches("<script").count(), 2, "the data and the page's own script");
    assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;"));
    for fetch in ["src=\"", "href=\"http", "@import", "url(http", "<link"] {
        assert!(!html.contains(fetch), "{fetch}");
    }
    let (head, rest) = html.split_once("id=\"data\">").unwrap();
    assert!(head.contains("Content-Security-Policy"));
    let embedded: Value = serde_json::from_str(rest.split("</script>").next().unwrap()).unwrap();
    assert_eq!(embedded["faults"][0]["kind"], "kill");
}

#[test]
fn the_data_of_runs_joins_calls_ledgers_and_replicas_and_puts_violations_first() {
    let material = material();
    let series = Series::of(&material.evidence);
    let runs = runs::gather(&material, &series);
    let value = data(&series, &runs);
    let list = value["runs"]["list"].as_array().unwrap();
    let heads: Vec<_> =
        list.iter().map(|run| [&run["id"], &run["uid"], &run["status"], &run["mark"]].map(|text| text.as_str().unwrap())).collect();
    assert_eq!(
        heads,
        [
            ["b", "uid-b", "succeeded", "violated"],
            ["a", "uid-a", "succeeded", "an attempt without an end"],
            ["c", "", "", "an answer that nobody got"],
        ]
    );
    assert_eq!(list[0]["violations"], json!([format!("I3: {NASTY}")]));
    assert_eq!(
        list[1]["attempts"],
        json!([
            {"row": "build", "from": 100.0, "to": 300.0, "end": "failed", "note": "attempt 1, token 10, worker-1", "effects": [200.0]},
            {"row": "build", "from": 400.0, "to": null, "end": "no end", "note": "attempt 2, token 20, worker-1"},
        ])
    );
    assert_eq!(list[1]["calls"], json!([{"row": "start", "from": 0.0, "to": 4.0, "end": "ok", "note": "client-1, running"}]));
    let text = "kill of node-2, 0.25 s to 0.90 s, in force, led shards [1, 3]: ".to_owned() + NASTY;
    assert_eq!(
        value["faults"],
        json!([{"kind": "kill", "from": 250.0, "to": 900.0, "state": "in force", "class": "process", "text": text}])
    );
}

#[test]
fn the_page_says_in_words_what_came_out_and_what_was_promised_and_not_seen() {
    let html = render(&material());
    for text in [
        "✗ Violated",
        "A promise was broken: I3 (I3 holds)",
        "1\u{202f}234",
        "lease-expiry",
        "✗ too little",
        "✓ enough",
        "data-run=\"uid-b\"",
    ] {
        assert!(html.contains(text), "{text}");
    }
}

#[test]
fn a_day_that_broke_off_has_a_page_that_says_so() {
    let evidence = Evidence { harness_errors: vec!["the stage did not come up".to_owned()], ..Evidence::default() };
    let html = render(&Material { evidence, ..Material::default() });
    assert!(html.contains("? Unknown") && html.contains("<li>the stage did not come up</li>") && html.contains("Nothing was recorded."));
}

#[test]
fn a_large_history_makes_a_page_of_bounded_size() {
    let mut material = material();
    let ok = || Some(Ending::Ok(Answer::default()));
    material.evidence.operations = (0..100_000).map(|id| start(id, &format!("run-{id}"), id * 1_000, ok())).collect();
    material.evidence.ledger = (0..100_000u32)
        .flat_map(|id| {
            let (run, at) = (format!("run-{id}"), u64::from(id) * 1_000);
            [entry(LedgerEvent::Begin, &run, 1, at + 1, ""), entry(LedgerEvent::End, &run, 1, at + 900, "succeeded")]
        })
        .collect();
    let html = render(&material);
    assert!(html.len() < 2_000_000, "{} bytes", html.len());
    assert!(html.contains("The page holds 400 of 100\u{202f}"), "it says what it leaves out");
}
