//! What became of the tests, for people, programs and JUnit readers.

use anstyle::{AnsiColor, Style};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

use super::suite::{Suite, TestResult};
use crate::cli::{args::Globals, failure::Failure, term, text::painted};

const OK: Style = AnsiColor::Green.on_default();
const FAILED: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// A line per test, and everything about those that failed.
pub(super) fn show(suites: &[Suite], trace: bool, globals: &Globals) -> Result<(), Failure> {
    for suite in suites {
        if !suite.broken.is_empty() {
            term::print(&format!("{} {}\n", painted(FAILED, "broken"), suite.name))?;
            term::note(&format!("{}\n", suite.broken));
        }
        for result in &suite.results {
            let (style, word) = if result.passed() { (OK, "ok    ") } else { (FAILED, "failed") };
            let time = painted(DIM, &format!("({})", result.virtual_time));
            if !result.passed() || !globals.quiet {
                term::print(&format!("{} {}: {} {time}\n", painted(style, word), suite.name, result.name))?;
            }
            if !result.passed() {
                term::note(&format!("{}\n{}\n", result.rendered, result.trace));
            } else if trace {
                term::note(&result.trace);
            }
        }
    }
    Ok(())
}

/// A suite as JSON.
pub(super) fn value(suite: &Suite) -> Value {
    let test = |result: &TestResult| json!({"name": result.name, "passed": result.passed(), "messages": result.messages, "virtual_time": result.virtual_time});
    let broken = plain(&suite.broken);
    json!({"file": suite.name, "broken": broken, "tests": suite.results.iter().map(test).collect::<Vec<_>>()})
}

/// All of it as JUnit XML.
pub(super) fn junit(suites: &[Suite]) -> Result<String, Failure> {
    let mut report = Report::new("quorus test");
    for suite in suites {
        let mut of = TestSuite::new(suite.name.as_str());
        if !suite.broken.is_empty() {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message("the file can't be played").set_description(plain(&suite.broken));
            let mut case = TestCase::new("(file)", status);
            case.set_classname(suite.name.as_str());
            of.add_test_case(case);
        }
        for result in &suite.results {
            let status = if result.passed() {
                TestCaseStatus::success()
            } else {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(result.messages.join("; ")).set_type("not-as-expected");
                status.set_description(format!("{}\n{}", plain(&result.rendered), result.trace));
                status
            };
            let mut case = TestCase::new(result.name.as_str(), status);
            case.set_classname(suite.name.as_str()).set_time(result.took);
            of.add_test_case(case);
        }
        report.add_test_suite(of);
    }
    report.to_string().map_err(|error| Failure::error(format!("can't write the report: {error}")))
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}
