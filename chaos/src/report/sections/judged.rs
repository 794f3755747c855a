//! What was judged: invariants with their counterexamples, and coverage.

use serde_json::Value;

use super::{
    super::{
        html::{count, escape, number, table},
        material::Counterexample,
    },
    Page, badge,
};

impl Page<'_> {
    /// One row per invariant, and all counterexamples.
    pub fn invariants(&self) -> String {
        let Some(judged) = &self.material.judged else {
            return "<section><h2>Verdict per invariant</h2><p>Nothing was judged.</p></section>".to_owned();
        };
        let rows: Vec<Vec<String>> = judged
            .invariants
            .iter()
            .map(|one| {
                let violated =
                    if one.violated > 0 { format!(", <b>{}</b>", count(one.violated, "violation", "violations")) } else { String::new() };
                vec![
                    escape(&one.id),
                    escape(&one.title),
                    badge(&one.verdict),
                    format!("{}{violated}", number(one.checked)),
                    escape(&one.reason),
                ]
            })
            .collect();
        let mut html = table("Verdict per invariant", &["Id", "What must hold", "Verdict", "Facts looked at", "Why"], &rows);
        for one in judged.invariants.iter().filter(|one| !one.violations.is_empty()) {
            let more = one.violated.saturating_sub(one.violations.len() as u64);
            let shown = if more > 0 {
                format!(" <span class=\"soft\">(the first {}; {more} more)</span>", one.violations.len())
            } else {
                String::new()
            };
            html.push_str(&format!("<h3>{}: {}{shown}</h3>", escape(&one.id), escape(&one.title)));
            one.violations.iter().for_each(|violation| html.push_str(&self.counterexample(violation)));
        }
        format!("<section><h2>Verdict per invariant</h2>{html}</section>")
    }

    fn counterexample(&self, violation: &Counterexample) -> String {
        let mut html = format!("<div class=\"counterexample\"><p><b>{}</b>", escape(&violation.summary));
        if !violation.run.is_empty() {
            let run = escape(&violation.run);
            html.push_str(&format!("<br>run <a href=\"#runs\" data-run=\"{run}\">{run}</a>"));
        }
        if !violation.step.is_empty() {
            html.push_str(&format!(", step <code>{}</code>", escape(&violation.step)));
        }
        html.push_str("</p><ol>");
        for testimony in &violation.evidence {
            let at = (testimony.at_us as f64 - self.series.from_us as f64) / 1e6;
            html.push_str(&format!("<li><time>{at:.3} s</time> <b>{}</b>: {}</li>", escape(&testimony.who), escape(&testimony.said)));
        }
        html.push_str("</ol></div>");
        html
    }

    /// What was done and seen, with what was promised.
    pub fn coverage(&self) -> String {
        let judged = self.material.judged.as_ref().map(|judged| &judged.coverage).unwrap_or(&Value::Null);
        let coverage = if judged.is_null() { &self.material.coverage } else { judged };
        let expects = &self.material.evidence.setup.expects;
        let mut rows = Vec::new();
        flatten(coverage, "", &mut |name, value| {
            let least = expects
                .iter()
                .find(|(expected, _)| name == expected.as_str() || name.ends_with(&format!(".{expected}")))
                .map(|(_, least)| *least);
            let seen = value.as_u64();
            let enough = match (least, seen) {
                (Some(least), Some(seen)) if seen >= least => "✓ enough",
                (Some(_), _) => "✗ too little",
                _ => "",
            };
            let shown = seen.map_or_else(|| escape(&value.to_string()), number);
            rows.push(vec![escape(name), shown, least.map(number).unwrap_or_default(), enough.to_owned()]);
        });
        for (name, least) in expects {
            if !rows
                .iter()
                .any(|row| row.first().is_some_and(|known| known == &escape(name) || known.ends_with(&format!(".{}", escape(name)))))
            {
                rows.push(vec![escape(name), "0".to_owned(), number(*least), "✗ too little".to_owned()]);
            }
        }
        if rows.is_empty() {
            return String::new();
        }
        let note = "A verdict is worth what was tested: faults that were really in force, and paths that were really taken. Less than was promised makes it unknown.";
        let headers = ["What", "Seen", "Promised at least", ""];
        format!("<section><h2>Coverage</h2><p>{note}</p>{}</section>", table("Coverage", &headers, &rows))
    }
}

/// Names and plain values of nested maps.
fn flatten(value: &Value, prefix: &str, found: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                flatten(inner, &path, found);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            for (at, inner) in items.iter().enumerate() {
                flatten(inner, &format!("{prefix}.{at}"), found);
            }
        }
        Value::Null => {}
        other => found(prefix, other),
    }
}
