//! The language as people write it: the example of the design compiles, and each mistake of the new kinds is found where it is.

#![allow(clippy::unwrap_used)]

use quorus_engine::{PlannedKind, Role};
use quorus_spec::{load, render_all};

const RELEASE: &str = include_str!("data/release.yaml");

fn workflow(spec: &str) -> String {
    format!("api_version: quorus/v1\nkind: Workflow\nmetadata: {{name: x}}\nspec: {spec}\n")
}

#[track_caller]
fn plan(spec: &str) -> quorus_spec::Loaded {
    let text = workflow(spec);
    load(&text, "x.yaml").unwrap_or_else(|found| panic!("{}", render_all(&found, &text, false)))
}

/// The spec has exactly this one problem (a warning if it says so), and `«»` mark what is underlined.
#[track_caller]
fn only(code: &str, marked: &str) {
    let marked = workflow(marked);
    let start = marked.find('«').unwrap();
    let end = marked.find('»').unwrap() - '«'.len_utf8();
    let text = marked.replace(['«', '»'], "");
    let found = match load(&text, "x.yaml") {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    };
    let rendered = render_all(&found, &text, false);
    assert_eq!(found.len(), 1, "{rendered}");
    assert_eq!(found[0].code, code, "{rendered}");
    assert_eq!(&text[found[0].span.range()], &text[start..end], "{rendered}");
}

#[test]
fn the_example_of_the_design_compiles_without_a_warning() {
    let loaded = load(RELEASE, "release.yaml").unwrap_or_else(|found| panic!("{}", render_all(&found, RELEASE, false)));
    assert!(loaded.warnings.is_empty(), "{}", render_all(&loaded.warnings, RELEASE, false));
    let plan = &loaded.plan;
    let ids: Vec<String> = plan.steps.iter().map(|step| format!("{} {} {}", step.id, step.kind.name(), step.role.name())).collect();
    assert_eq!(
        ids,
        [
            "migrate task body",
            "migrate:compensate task compensation",
            "canary group body",
            "canary:guard gate guard",
            "shift task body",
            "shift:compensate task compensation",
            "healthy gate body",
            "sign_off approval body",
            "regions for_each body",
            "deploy task body",
            "notify http finally",
        ]
    );
    let canary = &plan.steps[2];
    assert_eq!(
        (canary.body.as_slice(), plan.body.as_slice(), plan.finally.as_slice()),
        ([4, 6].as_slice(), [0, 2, 7, 8].as_slice(), [10].as_slice())
    );
    let PlannedKind::Group(group) = &canary.kind else { panic!("a group") };
    assert_eq!((group.guard, plan.steps[3].role, plan.steps[3].parent), (Some(3), Role::Guard { of: 2 }, None));
    assert_eq!((plan.steps[4].compensation, plan.steps[5].role), (Some(5), Role::Compensation { of: 4 }));
    let printed = quorus_spec::to_yaml(&loaded.workflow);
    assert_eq!(quorus_spec::read(&printed, "printed").workflow.as_ref(), Some(&loaded.workflow), "{printed}");
}

#[test]
fn shorthands_mean_what_the_long_forms_mean() {
    let short = plan(concat!(
        "{steps: [{id: a, task: {type: t}, continue_on_error: true}, {id: b, task: {type: t}, continue_on_error: [NotFound]},",
        " {id: c, needs: [a, {step: b, accept: [failed]}], http: {url: 'https://x.org', expect: [200, 2xx], max_body_bytes: 64KiB}},",
        " {id: d, workflow: {name: w, version: 3}}]}",
    ));
    let long = plan(concat!(
        "{steps: [{id: a, task: {type: t}, continue_on_error: {any: true}}, {id: b, task: {type: t}, continue_on_error: {types: [NotFound]}},",
        " {id: c, needs: [{step: a}, {step: b, accept: [ACCEPT_FAILED]}], http: {url: 'https://x.org', expect: ['200', 2xx], max_body_bytes: 65536}},",
        " {id: d, workflow: {name: w, version: '3'}}]}",
    ));
    assert_eq!(short.workflow, long.workflow);
    assert_eq!(short.definition, long.definition);
    let accept = short.plan.steps[2].needs[1].accept;
    assert!(accept.failed && !accept.succeeded && !accept.skipped);
}

#[test]
fn scopes_are_seen_from_the_inside_out() {
    plan(concat!(
        "{steps: [{id: a, set: 1}, {id: g, needs: [a], group: {output: '${steps.inner.output}', steps: [{id: inner, set: '${steps.a.output}'}]}},",
        " {id: b, needs: [g], set: '${steps.g.output}'}], output: '${steps.b.output}'}",
    ));
    plan("{steps: [{id: r, repeat: {until: 'steps.i.output > 3', max_iterations: 5, steps: [{id: i, set: '${index}'}]}}]}");
    plan("{steps: [{id: e, for_each: {in: [1], collect: '${steps.i.output}', steps: [{id: i, set: '${item}'}]}}]}");
    only("not-in-scope", "{steps: [{id: g, group: {steps: [{id: i, set: 1}]}}, {id: b, needs: [g], set: '${«steps».i.output}'}]}");
    only("not-in-scope", "{steps: [{id: g, group: {steps: [{id: i, set: 1}]}}], output: '${«steps».i.output}'}");
    only("not-an-ancestor", "{steps: [{id: g, group: {steps: [{id: i, set: '${«steps».g.output}'}]}}]}");
    only("not-an-ancestor", "{steps: [{id: a, set: 1}, {id: g, group: {steps: [{id: i, set: '${«steps».a.output}'}]}}]}");
    only("need-crosses-scopes", "{steps: [{id: g, group: {steps: [{id: i, set: 1}]}}, {id: b, needs: [«i»], set: 1}]}");
    only("need-crosses-scopes", "{steps: [{id: a, set: 1}, {id: g, group: {steps: [{id: i, needs: [«a»], set: 1}]}}]}");
    only("need-crosses-scopes", "{steps: [{id: g, group: {steps: [{id: i, needs: [«g»], set: 1}]}}]}");
    only("duplicate-id", "{steps: [{id: a, set: 1}, {id: g, group: {steps: [{id: «a», set: 1}]}}]}");
    only("cycle", "{steps: [{id: g, group: {steps: [{id: i, needs: [«j»], set: 1}, {id: j, needs: [i], set: 1}]}}]}");
}

#[test]
fn roots_are_available_where_they_mean_something() {
    only("unknown-root", "{steps: [{id: a, set: '${«item»}'}]}");
    only("unknown-root", "{steps: [{id: r, repeat: {until: 'true', max_iterations: 1, steps: [{id: i, set: '${«item»}'}]}}]}");
    only("unknown-root", "{steps: [{id: a, if: '«self».output', set: 1}]}");
    only("unknown-field", "{steps: [{id: a, set: '${«run».status}'}]}");
    plan("{steps: [{id: a, set: 1}], finally: [{id: f, set: {s: '${run.status}', e: '${run.error}', a: '${steps.a.output}'}}]}");
    plan("{steps: [{id: a, set: 1}], on_attention: [{id: f, emit: {type: t, signal: {run_id: r, name: n}}, if: run.status == 'x'}]}");
    plan("{steps: [{id: s, signal: {name: go, match: signal.payload.ok == true}, timeout: 1h}]}");
    only("unknown-root", "{steps: [{id: g, gate: {prometheus: {url: 'http://p', query: up}, condition: '«values».a > 1'}}]}");
    only(
        "unknown-field",
        "{steps: [{id: g, gate: {queries: {a: {prometheus: {url: 'http://p', query: up}}}, condition: '«values».b > 1'}}]}",
    );
    plan("{steps: [{id: g, gate: {queries: {a: {http: {url: 'http://p', value: response.body.x}}}, condition: values.a > 1}}]}");
}

#[test]
fn secrets_stand_only_where_they_are_resolved() {
    let loaded = plan("{steps: [{id: a, task: {type: t}, with: {token: 'Bearer ${secrets.token}', b: '${secrets[\"db-1\"]}'}}]}");
    assert_eq!(loaded.plan.steps[0].kind.task().unwrap().secrets, ["db-1", "token"]);
    let loaded = plan("{steps: [{id: a, http: {url: 'https://x.org', headers: {Authorization: '${secrets.token}'}}}]}");
    assert_eq!(loaded.plan.steps[0].kind.task().unwrap().secrets, ["token"]);
    only("secret-not-allowed", "{steps: [{id: a, set: '${«secrets».x}'}]}");
    only("secret-not-allowed", "{steps: [{id: a, if: '«secrets».x == \"\"', set: 1}]}");
    only("secret-not-allowed", "{steps: [{id: a, http: {url: 'https://x.org/${«secrets».x}'}}]}");
    only("secret-not-allowed", "{steps: [{id: a, workflow: {name: w}, with: '${«secrets».x}'}]}");
    only("secret-not-allowed", "{steps: [{id: a, task: {type: t}, with: '${size(«secrets».x)}'}]}");
    only("reserved-text", "{steps: [{id: a, task: {type: t}, with: '«{»{quorus.secret:x}}'}]}");
}

#[test]
fn compensations_guard_what_may_be_missing() {
    let step = |with: &str| format!("{{steps: [{{id: a, task: {{type: t}}, compensate: {{task: {{type: u}}, with: {with}}}}}]}}");
    only("unguarded-output", &step("'${«self».output.id}'"));
    plan(&step("'${has(self.output.id) ? self.output.id : null}'"));
    plan(&step("'${self.output == null ? 1 : self.output.id}'"));
    plan("{steps: [{id: a, task: {type: t}, compensate: {if: has(self.output.id), task: {type: u}, with: '${self.output.id}'}}]}");
    plan(&step("{v: '${self.with.v}', c: '${self.checkpoint}', s: '${self.state}'}"));
    only("unknown-field", &step("'${«self».input}'"));
    only("not-an-ancestor", &step("'${«steps».a.output}'"));
}

#[test]
fn paths_are_checked_against_schemas() {
    let spec = |schema: &str, set: &str| format!("{{input_schema: {schema}, steps: [{{id: a, set: '{set}'}}]}}");
    let closed = "{properties: {version: {type: string}, n: {type: integer}}, additionalProperties: false}";
    only("not-in-schema", &spec(closed, "${«input».vresion}"));
    only("not-in-schema", &spec("{properties: {version: {type: string}}}", "${«input».vresion}"));
    plan(&spec("{properties: {version: {type: string}}}", "${has(input.other)}"));
    only("int-division", &spec(closed, "${input.n «/» 2}"));
    only(
        "invalid-schema",
        "{input_schema: «{type: strnig}», steps: [{id: a, set: 1}]}"
            .replace("«{type: strnig}»", "{type: strnig}")
            .replace("input_schema", "«input_schema»")
            .as_str(),
    );
    only("not-in-schema", "{steps: [{id: a, http: {url: 'http://x'}}, {id: b, needs: [a], set: '${«steps».a.output.stauts}'}]}");
    only(
        "not-in-schema",
        "{signals: {go: {type: object, additionalProperties: false}}, steps: [{id: a, signal: {name: go}, timeout: 1h}, {id: b, needs: [a], set: '${«steps».a.output.x}'}]}",
    );
}

#[test]
fn kinds_know_their_own_fields() {
    only("field-not-allowed", "{steps: [{id: a, set: 1, «compensate»: {task: {type: t}}}]}");
    only("field-not-allowed", "{steps: [{id: a, http: {url: 'http://x'}, «with»: {x: 1}}]}");
    only("field-not-allowed", "{steps: [{id: a, approval: {approvers: [x]}, timeout: 1h, «retry»: {max_attempts: 1}}]}");
    only("field-not-allowed", "{steps: [{id: a, set: 1}], finally: [{id: b, task: {type: t}, «compensate»: {task: {type: t}}}]}");
    only("missing-kind", "{steps: [{id: a, task: {type: t}, «compensate»: {with: {x: 1}}}]}");
    only("field-not-allowed", "{steps: [{id: a, task: {type: t}, compensate: {http: {url: 'http://x'}, «with»: {x: 1}}}]}");
}

#[test]
fn mistakes_of_each_kind() {
    only("missing-url", "{steps: [{id: a, «http»: {method: GET}}]}");
    only("invalid-url", "{steps: [{id: a, http: {url: «ftp://x»}}]}");
    only("invalid-status", "{steps: [{id: a, http: {url: 'http://x', expect: [«600»]}}]}");
    only("bad-size", "{steps: [{id: a, http: {url: 'http://x', max_body_bytes: «1 megabyte»}}]}");
    only("invalid-size", "{steps: [{id: a, http: {url: 'http://x', max_body_bytes: «3MiB»}}]}");
    only("unbounded", "{steps: [{id: «a», signal: {name: go}}]}");
    only("unbounded", "{steps: [{id: «a», approval: {approvers: [x]}}]}");
    plan("{timeout: 1h, steps: [{id: a, signal: {name: go}}]}");
    only("unknown-signal", "{signals: {go: true}, timeout: 1h, steps: [{id: a, signal: {name: «gone»}}]}");
    only("missing-approvers", "{timeout: 1h, steps: [{id: a, «approval»: {required: 1}}]}");
    only("missing-query", "{steps: [{id: a, «gate»: {condition: 'true'}}]}");
    only("missing-condition", "{steps: [{id: a, «gate»: {prometheus: {url: 'http://p', query: up}}}]}");
    only(
        "more-than-one",
        "{steps: [{id: a, gate: {prometheus: {url: 'http://p', query: up}, «http»: {url: 'http://p'}, condition: 'true'}}]}",
    );
    only("invalid-interval", "{steps: [{id: a, gate: {prometheus: {url: 'http://p', query: up}, condition: 'true', interval: «10ms»}}]}");
    only("no-steps", "{steps: [{id: a, «group»: {output: 1}}]}");
    only("missing-gate", "{steps: [{id: a, group: {«guard»: {breach_for: 1m}, steps: [{id: b, set: 1}]}}]}");
    only("missing-items", "{steps: [{id: a, «for_each»: {steps: [{id: b, set: 1}]}}]}");
    only("not-a-list", "{steps: [{id: a, for_each: {in: «abc», steps: [{id: b, set: 1}]}}]}");
    only("invalid-percentage", "{steps: [{id: a, for_each: {in: [], max_failures_percent: «120», steps: [{id: b, set: 1}]}}]}");
    only("missing-iterations", "{steps: [{id: a, «repeat»: {until: 'true', steps: [{id: b, set: 1}]}}]}");
    only("too-many-iterations", "{steps: [{id: a, repeat: {until: 'true', max_iterations: «20000», steps: [{id: b, set: 1}]}}]}");
    only("invalid-version", "{steps: [{id: a, workflow: {name: w, version: «newest»}}]}");
    only("missing-sink", "{steps: [{id: a, «emit»: {type: t}}]}");
    only("reserved-type", "{steps: [{id: a, fail: {type: «QuorusX»}}]}");
    only("expression-not-allowed", "{steps: [{id: a, task: {type: t, queue: «'${input.q}'»}}]}");
    only("expression-not-allowed", "{steps: [{id: a, task: {type: t, selectors: {zone: «'${input.z}'»}}}]}");
    only("queue-and-pools", "{steps: [{id: a, task: {type: t, queue: q, «pools»: [{queue: p}]}}]}");
    only("run-on-without-needs", "{steps: [{id: a, run_on: «failure», set: 1}]}");
    only("never-accepted", "{steps: [{id: a, task: {type: t}}, {id: b, needs: [{step: «a», accept: [failed]}], set: 1}]}");
    only("missing-key", "{«concurrency»: {limit: 2}, steps: [{id: a, set: 1}]}");
    only("unknown-root", "{concurrency: {key: '${«steps».a.output}'}, steps: [{id: a, set: 1}]}");
    only("invalid-budget", "{budget: {unit: usd, limit: «-1»}, steps: [{id: a, set: 1}]}");
    only("not-enforced", "{«budget»: {unit: usd, limit: 1}, steps: [{id: a, set: 1}]}");
    only("unknown-value", "{on_failure: «compensat», steps: [{id: a, set: 1}]}");
    let ones = vec!["1"; 120].join(",");
    let costly = format!("[{ones}].map(a, [{ones}].map(b, [{ones}].map(c, a + b + c)))");
    let costly = costly.replacen('[', "«[»", 1);
    only("too-costly", &format!("{{steps: [{{id: a, set: '${{{costly}}}'}}]}}"));
}

#[test]
fn nesting_and_size_are_bounded() {
    let mut inner = "{id: s, set: 1}".to_owned();
    for depth in 0..17 {
        inner = format!("{{id: g{depth}, group: {{steps: [{inner}]}}}}");
    }
    let text = workflow(&format!("{{steps: [{inner}]}}"));
    let found = load(&text, "x").map(|_| ()).unwrap_err();
    assert_eq!(found.iter().map(|found| found.code.as_str()).collect::<Vec<_>>(), ["too-deep"], "{}", render_all(&found, &text, false));
}
