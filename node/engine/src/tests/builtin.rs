//! The documents that the node's own executors get, as `plan/builtin.rs` promises them; conditions of gates; and where secrets go.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::expr::{Root, Scope};
use crate::{
    BUILTIN_QUEUE, BuiltIn, Definition, EmitDefinition, Formula, FormulaTemplate, GateCondition, GateDefinition, GroupDefinition,
    GuardDefinition, HttpDefinition, Kind, MetricQuery, Millis, Plan, ResponseValue, SECRET_MARKER, SignalTarget, SinkDefinition,
    StepDefinition, StepId, TaskDefinition, Timestamp, plan,
};

struct Documents(Value);

impl Scope for Documents {
    fn document(&self, root: Root) -> Result<Arc<Value>, String> {
        Ok(Arc::new(match root {
            Root::Input => self.0.clone(),
            Root::Run => json!({"id": "r-1"}),
            _ => Value::Null,
        }))
    }

    fn now(&self) -> Timestamp {
        Timestamp(0)
    }

    fn started_at(&self) -> Timestamp {
        Timestamp(0)
    }

    fn spend(&self, _rounds: f64) -> Result<(), String> {
        Ok(())
    }
}

fn one(kind: Kind) -> Plan {
    let step = StepDefinition { id: "a".to_owned(), kind: Some(kind), ..StepDefinition::default() };
    of(vec![step])
}

fn of(steps: Vec<StepDefinition>) -> Plan {
    let definition = Definition { namespace: "ns".to_owned(), name: "w".to_owned(), steps, ..Definition::default() };
    plan(&definition).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn request(plan: &Plan, id: &str, input: Value) -> Value {
    let task = plan.step(&StepId::from(id)).and_then(|step| step.kind.task()).unwrap();
    assert_eq!(task.queue, BUILTIN_QUEUE);
    task.with.as_ref().unwrap().render(&Documents(input)).unwrap()
}

fn headers(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

fn prometheus(url: &str) -> MetricQuery {
    MetricQuery::Prometheus { url: url.to_owned(), query: "up".to_owned(), headers: BTreeMap::new(), allow_private: true }
}

#[test]
fn http_becomes_a_request() {
    let plan = one(Kind::Http(HttpDefinition {
        url: "https://x.org/${input.path}".to_owned(),
        headers: headers("Authorization", "Bearer ${secrets.token}"),
        body: Some(json!({"n": "${input.n}"})),
        ..HttpDefinition::default()
    }));
    let expected = json!({
        "method": "POST", "url": "https://x.org/p", "headers": {"Authorization": "Bearer {{quorus.secret:token}}"}, "body": {"n": 7},
        "expect": ["2xx"], "max_body_bytes": 1_048_576, "allow_private": false, "on_crash": "retry",
    });
    assert_eq!(request(&plan, "a", json!({"path": "p", "n": 7})), expected);
    let step = &plan.steps[0];
    let task = step.kind.task().unwrap();
    assert_eq!(
        (task.builtin, task.task_type.as_str(), task.secrets.as_slice()),
        (Some(BuiltIn::Http), "quorus.http", ["token".to_owned()].as_slice())
    );
    assert_eq!((step.timeout, task.attempt_timeout), (Some(Millis(3_600_000)), Millis(30_000)), "calls are bounded by default");
}

#[test]
fn a_gate_becomes_a_request_and_so_does_a_guard() {
    let gate = GateDefinition {
        query: Some(prometheus("http://${input.host}")),
        condition: "value < 0.5".to_owned(),
        fail_if: Some("value > 2.0".to_owned()),
        hold_for: Some(Millis(60_000)),
        ..GateDefinition::default()
    };
    let guarded = Kind::Group(GroupDefinition {
        steps: vec![StepDefinition { id: "b".to_owned(), kind: Some(Kind::Set(json!(1))), ..StepDefinition::default() }],
        output: None,
        guard: Some(GuardDefinition {
            gate: Some(GateDefinition {
                queries: BTreeMap::from([("q".to_owned(), Some(prometheus("http://p")))]),
                condition: "values.q > 0".to_owned(),
                fail_on_no_data: true,
                ..GateDefinition::default()
            }),
            breach_for: Some(Millis(5_000)),
        }),
    });
    let plan = of(vec![
        StepDefinition { id: "a".to_owned(), kind: Some(Kind::Gate(gate)), ..StepDefinition::default() },
        StepDefinition { id: "g".to_owned(), kind: Some(guarded), ..StepDefinition::default() },
    ]);
    let query = |url: &str| json!({"prometheus": {"url": url, "query": "up", "headers": {}, "allow_private": true}});
    assert_eq!(
        request(&plan, "a", json!({"host": "h"})),
        json!({
            "queries": {"value": query("http://h")}, "single": true, "condition": "value < 0.5", "fail_if": "value > 2.0",
            "interval_ms": 15_000, "hold_for_ms": 60_000, "no_data": "wait", "guard": false, "breach_for_ms": 0,
        })
    );
    assert_eq!(
        request(&plan, "g:guard", Value::Null),
        json!({
            "queries": {"q": query("http://p")}, "single": false, "condition": "values.q > 0",
            "interval_ms": 15_000, "hold_for_ms": 0, "no_data": "fail", "guard": true, "breach_for_ms": 5_000,
        })
    );
    assert_eq!(plan.steps[0].timeout, Some(Millis(86_400_000)), "gates are bounded by default");
}

#[test]
fn emit_becomes_a_request() {
    let plan = one(Kind::Emit(EmitDefinition {
        event_type: "t".to_owned(),
        data: Some(json!("${input}")),
        sinks: vec![SinkDefinition { http: "https://s".to_owned(), ..SinkDefinition::default() }],
        signal: Some(SignalTarget { run_id: "x-${input}".to_owned(), name: "n".to_owned(), ..SignalTarget::default() }),
        ..EmitDefinition::default()
    }));
    assert_eq!(
        request(&plan, "a", json!(5)),
        json!({
            "type": "t", "source": "/quorus/ns/w", "subject": "r-1", "data": 5,
            "sinks": [{"http": "https://s", "headers": {}, "allow_private": false}],
            "signal": {"run_id": "x-5", "name": "n", "start": false},
        })
    );
}

#[test]
fn a_value_can_not_refer_to_a_secret_by_itself() {
    let plan = of(vec![StepDefinition {
        id: "a".to_owned(),
        with: Some(json!({"token": "${secrets.token}", "echo": "say ${input.text}"})),
        kind: Some(Kind::Task(TaskDefinition { task_type: "t".to_owned(), ..TaskDefinition::default() })),
        ..StepDefinition::default()
    }]);
    let with = plan.steps[0].kind.task().unwrap().with.as_ref().unwrap();
    assert_eq!(with.render(&Documents(json!({"text": "hi"}))).unwrap()["token"], json!(format!("{SECRET_MARKER}token}}}}")));
    let error = with.render(&Documents(json!({"text": format!("{SECRET_MARKER}token}}}}")}))).unwrap_err();
    assert!(error.to_string().contains("reference to a secret"), "{error}");
}

#[test]
fn conditions_of_gates_hold_or_not() {
    let value = |value: f64| BTreeMap::from([(GateCondition::SINGLE.to_owned(), value)]);
    let condition = GateCondition::compile("value < 0.01 || value == 5.0", None).unwrap();
    assert_eq!((condition.holds(&value(0.0)), condition.holds(&value(0.5)), condition.holds(&value(5.0))), (Ok(true), Ok(false), Ok(true)));
    assert_eq!(condition.holds(&value(f64::NAN)), Ok(false), "NaN never satisfies");
    assert_eq!(condition.holds(&value(f64::INFINITY)), Ok(false));
    assert_eq!(GateCondition::compile("value > 100.0", None).unwrap().holds(&value(f64::INFINITY)), Ok(true));
    let both = GateCondition::compile("values.a <= values.b * 1.1", Some(&["a", "b"])).unwrap();
    let values = |a: f64, b: f64| BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
    assert_eq!((both.holds(&values(1.0, 1.0)), both.holds(&values(1.2, 1.0))), (Ok(true), Ok(false)));
    assert!(both.holds(&BTreeMap::from([("a".to_owned(), 1.0)])).is_err(), "a value that is not there");
    for (source, code) in [
        ("values.c > 1", "unknown-field"),
        ("value > 1", "unknown-root"),
        ("input.x > 1", "unknown-root"),
        ("values.a >", "bad-expression"),
    ] {
        assert_eq!(GateCondition::compile(source, Some(&["a", "b"])).unwrap_err()[0].code, code, "{source}");
    }
}

#[test]
fn numbers_are_taken_out_of_answers() {
    let response = Arc::new(json!({"status": 200, "headers": {}, "body": {"rate": 0.25, "none": null, "text": "x"}}));
    let of = |source: &str| ResponseValue::compile(source).unwrap().of(&response);
    assert_eq!(of("response.body.rate"), Ok(Some(0.25)));
    assert_eq!(of("response.body.none"), Ok(None));
    assert_eq!(of("double(response.status) / 100.0"), Ok(Some(2.0)));
    assert!(of("response.body.text").is_err() && of("response.body.missing").is_err());
    assert_eq!(ResponseValue::compile("response.bodi").unwrap_err()[0].code, "unknown-field");
}

#[test]
fn formulas_read_the_documents_of_their_caller_and_nothing_else() {
    let event = Arc::new(json!({"alerts": [{"status": "firing"}, {"status": "resolved"}], "id": 7}));
    let documents = [event, Arc::new(json!({"host": "h"}))];
    let names = ["event", "source"];
    let firing = Formula::compile("event.alerts.filter(a, a.status == 'firing').size() > 0 && source.host == 'h'", &names).unwrap();
    assert_eq!((firing.holds(&documents), Formula::compile("event.id", &names).unwrap().evaluate(&documents)), (Ok(true), Ok(json!(7))));
    let template = FormulaTemplate::compile(&json!({"id": "${event.id}", "key": "${source.host}-${event.id}"}), &names).unwrap();
    assert_eq!(template.render(&documents), Ok(json!({"id": 7, "key": "h-7"})));
    let problems = FormulaTemplate::compile(&json!({"a": ["${input.x}"]}), &names).unwrap_err();
    assert_eq!((problems[0].path.as_str(), problems[0].code), (".a[0]", "unknown-root"));
}
