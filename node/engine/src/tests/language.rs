//! What expressions and templates mean, and that no source or value makes them panic or run away.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::expr::{EvaluationError, Expression, Reading, Root, Scope, StepReference, Steps, Template};
use crate::{Timestamp, failure_type};

struct OneStep;

impl Steps for OneStep {
    fn index(&self, id: &str) -> Option<usize> {
        (id == "a").then_some(0)
    }

    fn ids(&self) -> Vec<&str> {
        vec!["a"]
    }

    fn schema(&self, _step: &StepReference) -> Option<&Value> {
        None
    }

    fn input_schema(&self) -> Option<&Value> {
        None
    }
}

struct Documents {
    input: Value,
    output: Value,
}

impl Scope for Documents {
    fn document(&self, root: Root) -> Result<Arc<Value>, String> {
        Ok(Arc::new(match root {
            Root::Input => self.input.clone(),
            Root::Output(_) => self.output.clone(),
            Root::Status(_) => json!("succeeded"),
            Root::Error(_) => Value::Null,
            Root::Run => json!({"id": "r", "labels": {"team": "x"}, "started_at": "1970-01-01T00:00:00Z"}),
            Root::Now => json!("1970-01-01T00:00:10Z"),
            _ => Value::Null,
        }))
    }

    fn now(&self) -> Timestamp {
        Timestamp(10_000)
    }

    fn started_at(&self) -> Timestamp {
        Timestamp(0)
    }

    fn spend(&self, _rounds: f64) -> Result<(), String> {
        Ok(())
    }
}

fn evaluate(source: &str, input: Value) -> Result<Value, EvaluationError> {
    let (expression, _) = Expression::compile(source, &OneStep, &Reading::RUN).unwrap_or_else(|flaws| panic!("{source}: {flaws:?}"));
    expression.evaluate(&Documents { input, output: Value::Null })
}

fn reason(source: &str, input: Value) -> String {
    evaluate(source, input).unwrap_err().to_string()
}

fn render(template: Value, input: Value) -> Result<Value, EvaluationError> {
    let (template, found) = Template::compile(&template, &OneStep, &Reading::RUN);
    assert!(found.flaws.is_empty(), "{found:?}");
    template.render(&Documents { input, output: Value::Null })
}

#[test]
fn json_numbers_are_ints_if_they_fit() {
    assert_eq!(evaluate("input.n + 1", json!({"n": 41})).unwrap(), json!(42));
    assert_eq!(evaluate("type(input.n) == int", json!({"n": 1})).unwrap(), json!(true));
    assert_eq!(evaluate("type(input.n) == double", json!({"n": 1.5})).unwrap(), json!(true));
    assert_eq!(evaluate("type(input.n) == double", json!({"n": u64::MAX})).unwrap(), json!(true));
    assert_eq!(evaluate("input.n", json!({"n": u64::MAX})).unwrap(), json!(u64::MAX), "a path copies");
}

#[test]
fn arithmetic_promotes_int_to_double() {
    for (source, value) in [
        ("input.n + 0.5", json!(3.5)),
        ("0.5 + input.n", json!(3.5)),
        ("input.n * 1.5 - 1", json!(3.5)),
        ("input.n / 2.0", json!(1.5)),
        ("1.5 / input.n", json!(0.5)),
        ("input.n % 2", json!(1)),
        ("-input.n", json!(-3)),
        ("input.n > 2.5", json!(true)),
    ] {
        assert_eq!(evaluate(source, json!({"n": 3})).unwrap(), value, "{source}");
    }
}

#[test]
fn integers_are_never_divided_silently() {
    assert!(Expression::compile("7 / 2", &OneStep, &Reading::RUN).is_err_and(|flaws| flaws[0].code == "int-division"));
    assert!(reason("input.a / 2", json!({"a": 7})).contains("drop the remainder"));
    assert_eq!(evaluate("double(input.a) / 2", json!({"a": 7})).unwrap(), json!(3.5));
}

#[test]
fn has_is_false_for_what_is_missing_or_null() {
    let input = json!({"a": {"b": null, "c": 1}, "n": null, "list": [{"x": {"y": 1}}, {"x": null}, {}]});
    for (source, value) in [
        ("has(input.a.c)", true),
        ("has(input.a.b)", false),
        ("has(input.a.b.d)", false),
        ("has(input.n.x.y)", false),
        ("has(input.zzz.x)", false),
        ("has(steps.a.output.x)", false),
        ("has(steps.a.output)", false),
        ("has(steps.a.error.type)", false),
        ("has(run.labels.team)", true),
        ("has(run.labels.owner)", false),
    ] {
        assert_eq!(evaluate(source, input.clone()).unwrap(), json!(value), "{source}");
    }
    assert_eq!(evaluate("input.list.filter(i, has(i.x.y)).size()", input).unwrap(), json!(1));
}

#[test]
fn a_missing_path_matters_only_when_it_is_read() {
    let input = json!({"a": {"b": null}});
    assert_eq!(evaluate("has(input.x) ? input.x : 'none'", input.clone()).unwrap(), json!("none"));
    assert_eq!(evaluate("true || input.x == 1", input.clone()).unwrap(), json!(true));
    assert!(reason("input.a.b.c == 1", input.clone()).contains("`input.a.b` is null"));
    assert!(reason("input.x", input.clone()).contains("`input` has no such member"));
    assert!(reason("steps.a.output.x + 1", input).contains("`steps.a.output` is null"));
}

#[test]
fn maps_are_visited_and_written_in_order() {
    let input = json!({"m": {"z": 1, "a": 2, "k": 3, "b": 4, "y": 5, "c": 6}});
    for _ in 0..20 {
        assert_eq!(evaluate("input.m.map(k, k)", input.clone()).unwrap(), json!(["a", "b", "c", "k", "y", "z"]));
        let built = evaluate("{'z': 1, 'a': 2, 'k': 3}", input.clone()).unwrap();
        assert_eq!(built.to_string(), r#"{"a":2,"k":3,"z":1}"#);
    }
}

#[test]
fn variables_hide_roots_and_odd_keys_are_reached_by_index() {
    let input = json!({"items": [{"input": 1, "x": 5}], "odd-key": {"a.b": 7}});
    assert_eq!(evaluate("input.items.map(input, input.x)", input.clone()).unwrap(), json!([5]));
    assert_eq!(evaluate("input.items.exists(i, i.x == input['odd-key']['a.b'] - 2)", input.clone()).unwrap(), json!(true));
    assert_eq!(evaluate("input['odd-key']['a.b']", input.clone()).unwrap(), json!(7));
    assert_eq!(evaluate("input.items[0].x", input.clone()).unwrap(), json!(5));
    assert_eq!(evaluate("input.items[size(input.items) - 1].x", input).unwrap(), json!(5));
}

#[test]
fn optional_access_and_times_work() {
    let input = json!({"a": {"b": 1}});
    assert_eq!(evaluate("input.?a.?z.orValue(9)", input.clone()).unwrap(), json!(9));
    assert_eq!(evaluate("optional.of(1).hasValue()", input.clone()).unwrap(), json!(true));
    assert_eq!(evaluate("now - run.started_at", input.clone()).unwrap(), json!("10s"));
    assert_eq!(evaluate("now + duration('1h30m')", input.clone()).unwrap(), json!("1970-01-01T01:30:10Z"));
    assert_eq!(evaluate("now", input.clone()).unwrap(), json!("1970-01-01T00:00:10Z"));
    assert_eq!(evaluate("now.getSeconds() + timestamp('1970-01-01T00:00:05Z').getSeconds()", input.clone()).unwrap(), json!(15));
    assert_eq!(evaluate("string(run.started_at)", input).unwrap(), json!("1970-01-01T00:00:00Z"));
}

#[test]
fn templates_keep_types_and_insert_text() {
    let input = json!({"n": 5, "s": "x", "o": {"a": [1]}, "none": null});
    let template = json!({
        "typed": "${input.o}", "text": "n=${input.n} s=${input.s} o=${input.o} none=${input.none}", "literal": "$${input.n}",
        "money": "$5 and $$", "brace": "${'}'}", "map": "${ {'k': {'v': 1}}.k.v }", "both": "$${a}${input.n}", "deep": [{"x": ["${input.s}", 1]}],
        "empty": "",
    });
    assert_eq!(
        render(template, input).unwrap(),
        json!({
            "typed": {"a": [1]}, "text": "n=5 s=x o={\"a\":[1]} none=null", "literal": "${input.n}",
            "money": "$5 and $$", "brace": "}", "map": 1, "both": "${a}5", "deep": [{"x": ["x", 1]}], "empty": "",
        })
    );
}

#[test]
fn what_costs_too_much_is_refused_before_it_runs() {
    let list: Vec<u32> = (0..2_000).collect();
    let input = json!({"l": list, "nested": vec![json!({"tags": ["a", "b", "c"]}); 3_000], "text": "x".repeat(1_000_000)});
    assert!(reason("input.l.map(a, input.l.map(b, a * b))", input.clone()).contains("rounds"));
    assert!(reason("input.l.map(a, input.text)", input.clone()).contains("memory"));
    assert!(reason("input.l.filter(a, 'abc'.matches('a+b'))", json!({"l": vec![0; 20_000]})).contains("rounds"));
    assert_eq!(evaluate("size(input.nested.filter(i, i.tags.exists(t, t == 'c')))", input.clone()).unwrap(), json!(3_000));
    assert_eq!(evaluate("size(input.l.filter(i, i > 10))", input).unwrap(), json!(1_989));
}

#[test]
fn a_value_larger_than_a_payload_is_refused() {
    let input = json!({"text": "x".repeat(1_200_000)});
    assert_eq!(evaluate("[input.text, input.text]", input.clone()).unwrap_err(), EvaluationError::TooLarge);
    let error = render(json!({"a": "${input.text}", "b": "${input.text}"}), input.clone()).unwrap_err();
    assert_eq!(error.into_failure("with").kind, failure_type::INPUT_TOO_LARGE);
    assert_eq!(render(json!("${input.text}${input.text}"), input).unwrap_err(), EvaluationError::TooLarge);
}

#[test]
fn sources_are_bounded() {
    let code = |source: &str| Expression::compile(source, &OneStep, &Reading::RUN).unwrap_err()[0].code;
    assert_eq!(code(&"1".repeat(5_000)), "expression-too-long");
    assert_eq!(code(&vec!["1"; 200].join(" + ")), "expression-too-deep");
    assert_eq!(code(&format!("{}1{}", "(".repeat(500), ")".repeat(500))), "bad-expression");
    assert_eq!(code(""), "bad-expression");
    assert!(Expression::compile(&vec!["input.a"; 300].join(" && "), &OneStep, &Reading::RUN).is_ok(), "long conditions are fine");
}

#[test]
fn positions_are_bytes_of_the_source() {
    let flaws = Expression::compile("'ü' == input.x && nope", &OneStep, &Reading::RUN).unwrap_err();
    assert_eq!((flaws[0].code, flaws[0].offset), ("unknown-root", Some(19)));
    let flaws = Expression::compile("'ü' == steps.b.output", &OneStep, &Reading::RUN).unwrap_err();
    assert_eq!((flaws[0].code, flaws[0].offset), ("unknown-step", Some(8)));
    let flaws = Expression::compile("'ü' ==\n 'ä' + lower(input.x)", &OneStep, &Reading::RUN).unwrap_err();
    assert_eq!((flaws[0].code, flaws[0].offset), ("unknown-function", Some(16)));
    let flaws = Expression::compile("'ü' == ", &OneStep, &Reading::RUN).unwrap_err();
    assert_eq!((flaws[0].code, flaws[0].offset), ("bad-expression", Some(8)));
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z${}'\"]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-e]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Pieces of the language in any order.
fn source() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "input",
        ".a",
        ".b",
        "[0]",
        "['c']",
        "steps.a.output",
        "run.id",
        "now",
        " + ",
        " - ",
        " / ",
        " * ",
        " % ",
        " == ",
        " < ",
        " in ",
        " && ",
        " || ",
        "!",
        "-",
        "1",
        "2.5",
        "'x'",
        "\"y\"",
        "null",
        "true",
        "[",
        "]",
        "{",
        "}",
        "(",
        ")",
        ",",
        ":",
        " ? ",
        ".map(x, x)",
        ".filter(i, i > 1)",
        ".all(y, y)",
        "has(",
        "input.a",
        "size(",
        "string(",
        "int(",
        ".?a",
        "[?0]",
        ".orValue(1)",
        "b'z'",
        "3u",
        "matches(",
        "duration('1s')",
        ".startsWith('x')",
        "\\",
        "`",
        "é",
        "x",
        "optional.of(",
        "type(",
        "M{a: 1}",
        "..",
        "$",
        "\n",
    ]);
    prop::collection::vec(word, 1..12).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    /// Any text is compiled or refused, any compiled text has a value or an error, twice the same.
    #[test]
    fn no_source_panics(source in source(), input in json_value(), output in json_value()) {
        if let Ok((expression, _)) = Expression::compile(&source, &OneStep, &Reading::RUN) {
            let documents = Documents { input, output };
            prop_assert_eq!(expression.evaluate(&documents), expression.evaluate(&documents));
            let _ = expression.evaluate_bool(&documents);
        }
    }

    #[test]
    fn any_text_is_compiled_or_refused(source in "\\PC{0,40}") {
        let _ = Expression::compile(&source, &OneStep, &Reading::RUN);
    }

    /// A document without `${` renders to itself.
    #[test]
    fn literals_stay(value in json_value()) {
        let text = value.to_string();
        let (template, found) = Template::compile(&value, &OneStep, &Reading::RUN);
        if !text.contains("${") {
            prop_assert!(found.flaws.is_empty());
            let documents = Documents { input: Value::Null, output: Value::Null };
            prop_assert_eq!(template.render(&documents).unwrap(), value);
        }
    }

    /// What a path reads is what is there, bit for bit.
    #[test]
    fn a_path_copies(value in json_value()) {
        let input = Value::Object([("v".to_owned(), value.clone())].into_iter().collect());
        prop_assert_eq!(evaluate("input.v", input).unwrap(), value);
    }
}

#[test]
fn noted_are_reported_for_each_step_that_is_read() {
    let (_, noted) = Expression::compile("steps.a.output.x == steps.a.status || has(steps.a.error)", &OneStep, &Reading::RUN).unwrap();
    assert_eq!(noted.references.len(), 3);
    assert_eq!(noted.references[1].offset, Some(20));
}

/// Actors run on threads with a stack of 2 MiB; half of it must do for the deepest expression that is accepted.
#[test]
fn the_deepest_expressions_fit_on_a_small_stack() {
    let nested = |open: &str, close: &str, times: usize| format!("{}input.l{}", open.repeat(times), close.repeat(times));
    let sources: Vec<String> = (1..100)
        .flat_map(|depth| {
            [
                nested("(", ")", depth),
                nested("[", "]", depth),
                nested("{'a': ", "}", depth),
                nested("!", "", depth),
                nested("size(", ")", depth),
                nested("true ? 1 : ", "", depth),
                nested("[1].map(x, ", ")", depth),
                nested("input.l.filter(x, ", ".size() > 0)", depth),
                format!("input.l{}", ".map(x, x)".repeat(depth)),
                format!("input.l{}", "[0]".repeat(depth)),
                vec!["input.n"; depth].join(" + "),
                vec!["input.n == 1"; depth].join(" || "),
            ]
        })
        .collect();
    let work = move || {
        let mut compiled = 0;
        for source in &sources {
            if let Ok((expression, _)) = Expression::compile(source, &OneStep, &Reading::RUN) {
                compiled += 1;
                let _ = expression.evaluate(&Documents { input: json!({"l": [1, 2], "n": 1}), output: Value::Null });
            }
        }
        compiled
    };
    let compiled = std::thread::Builder::new().stack_size(1024 * 1024).spawn(work).unwrap().join().unwrap();
    assert!(compiled > 500, "most of them are accepted: {compiled}");
}
