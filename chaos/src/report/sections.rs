//! The parts of the page.

mod judged;
mod setup;

use super::{
    html::{count, escape, number, pairs, span, table},
    material::Material,
    runs::Runs,
    series::Series,
    timeline,
};
use crate::experiment::journal::SteadyState;

/// What all parts know.
pub struct Page<'a> {
    /// What the folder holds.
    pub material: &'a Material,
    /// Numbers over time.
    pub series: &'a Series,
    /// Single runs.
    pub runs: &'a Runs,
}

/// A verdict as a sign and a word: never a colour alone.
pub fn word(verdict: &str) -> &'static str {
    match verdict {
        "valid" => "✓ Valid",
        "violated" => "✗ Violated",
        "deviated" => "✗ Deviated",
        "none" => "– Not judged",
        "not_applicable" => "– Not applicable",
        _ => "? Unknown",
    }
}

/// A verdict in a cell or heading.
fn badge(verdict: &str) -> String {
    let class = match verdict {
        "valid" | "violated" | "deviated" | "none" | "not_applicable" => verdict,
        _ => "unknown",
    };
    format!("<span class=\"badge {class}\">{}</span>", word(verdict))
}

impl Page<'_> {
    /// Title, verdict in plain words, and how much was looked at.
    pub fn top(&self) -> String {
        let material = self.material;
        let verdict = material.verdict();
        let violated = material.judged.iter().flat_map(|judged| &judged.invariants).filter(|one| one.verdict == "violated");
        let names: Vec<String> = violated.map(|one| format!("{} ({})", one.id, one.title)).collect();
        let words = match verdict {
            "valid" => "Everything that Quorus promises and that this game day looked at held, while the faults below were in force and after them.".to_owned(),
            "violated" => format!("A promise was broken: {}. The counterexamples below say who said what, and when.", names.join("; ")),
            "deviated" => "What must hold before and after the faults did not hold after them any more: see the hypothesis below.".to_owned(),
            "none" => "The experiment was carried out. There was no workload whose history could be judged.".to_owned(),
            _ => "Nothing was proven, for these reasons:".to_owned(),
        };
        let mut html = format!(
            "<header><p class=\"soft\">Quorus game day{}</p><h1>{}</h1></header><section class=\"verdict {verdict}\" aria-label=\"Verdict\"><strong>{}</strong><p>{}</p>",
            if material.about.experiment.is_empty() {
                String::new()
            } else {
                format!(": <code>{}</code>", escape(&material.about.experiment))
            },
            escape(material.title()),
            word(verdict),
            escape(&words),
        );
        let reasons = material.reasons();
        if verdict != "valid" && !reasons.is_empty() {
            html.push_str("<ul>");
            reasons.iter().for_each(|reason| html.push_str(&format!("<li>{}</li>", escape(reason))));
            html.push_str("</ul>");
        }
        html.push_str("</section><ul class=\"facts\" aria-label=\"How much was looked at\">");
        let evidence = &material.evidence;
        let begun = evidence.ledger.iter().filter(|entry| entry.event == quorus_client::LedgerEvent::Begin).count();
        let replicas = evidence.replicas.iter().filter(|replica| replica.shard > 0).count();
        let faults = self.series.bands.iter().filter(|band| band.state == "in force").count();
        let longest = self.series.gaps.first().map_or_else(|| "–".to_owned(), |gap| span(gap.to_us - gap.from_us));
        let facts = [
            (number(evidence.operations.len() as u64), "calls of clients"),
            (number(self.runs.total as u64), "runs"),
            (number(begun as u64), "attempts begun by workers"),
            (number(faults as u64), "faults in force"),
            (number(replicas as u64), "replicas exported and compared"),
            (longest, "longest time without a call that was done"),
            (span(self.series.to_us.saturating_sub(self.series.from_us)), "observed"),
        ];
        for (value, name) in facts {
            html.push_str(&format!("<li><b>{}</b>{name}</li>", escape(&value)));
        }
        html.push_str("</ul>");
        html
    }

    /// The experiment: what it asks, what must hold, what may be touched.
    pub fn what_was_asked(&self) -> String {
        let experiment = &self.material.experiment;
        let text = |value: &serde_json::Value| escape(value.as_str().unwrap_or_default());
        let mut html = String::new();
        if let Some(description) = experiment["description"].as_str() {
            html.push_str(&format!("<p>{}</p>", escape(description)));
        }
        let mut rows = Vec::new();
        let hypothesis = &experiment["steady-state-hypothesis"];
        if hypothesis.is_object() {
            let states = self.material.journal.as_ref().map(|journal| &journal.steady_states);
            let held = |state: Option<&SteadyState>| match state {
                None => "not tested".to_owned(),
                Some(state) if state.steady_state_met => "✓ held".to_owned(),
                Some(state) => {
                    let why = state.probes.last().map(|run| format!("{}: {}", run.name(), run.trouble())).unwrap_or_default();
                    format!("✗ did not hold ({})", escape(&why))
                }
            };
            rows.push(("Hypothesis".to_owned(), text(&hypothesis["title"])));
            rows.push(("Before the faults".to_owned(), held(states.and_then(|states| states.before.as_ref()))));
            rows.push(("After the faults".to_owned(), held(states.and_then(|states| states.after.as_ref()))));
            let during = states.map(|states| states.during.as_slice()).unwrap_or_default();
            if !during.is_empty() {
                let good = during.iter().filter(|state| state.steady_state_met).count();
                rows.push(("During the faults".to_owned(), format!("held in {good} of {} tests", during.len())));
            }
        }
        let day = &self.material.about.game_day;
        if !day.blast_radius.is_empty() {
            rows.push(("Blast radius".to_owned(), escape(&day.blast_radius)));
        }
        if !day.abort_conditions.is_empty() {
            rows.push(("Abort conditions".to_owned(), escape(&day.abort_conditions.join("; "))));
        }
        if let Some(journal) = &self.material.journal {
            let activity = |run: &crate::experiment::journal::Run| {
                let sign = if run.done() { "✓".to_owned() } else { format!("✗ ({})", escape(&run.trouble())) };
                format!("{sign} {} <span class=\"soft\">{:.1} s</span>", escape(run.name()), run.duration)
            };
            let list = |runs: &[crate::experiment::journal::Run]| runs.iter().map(activity).collect::<Vec<_>>().join("<br>");
            rows.push(("Method".to_owned(), list(&journal.run)));
            rows.push(("Rollbacks".to_owned(), list(&journal.rollbacks)));
        }
        if !rows.is_empty() {
            html.push_str(&pairs("What was asked, and what was done", &rows));
        }
        if html.is_empty() { html } else { format!("<section><h2>The experiment</h2>{html}</section>") }
    }

    /// The picture over time, with its tables.
    pub fn timeline(&self) -> String {
        let series = self.series;
        if series.buckets.is_empty() {
            return "<section><h2>Timeline</h2><p>Nothing was recorded.</p></section>".to_owned();
        }
        let mut legend = String::from("<ul class=\"legend\" aria-label=\"Legend\">");
        let mut sign = |form: &str, name: &str| {
            legend.push_str(&format!("<li><svg viewBox=\"0 0 22 14\" aria-hidden=\"true\">{form}</svg>{name}</li>"))
        };
        sign("<rect class=\"bar ok\" width=\"22\" height=\"14\"/>", "done");
        sign("<rect class=\"bar fail\" width=\"22\" height=\"14\"/>", "refused (×)");
        sign("<rect class=\"bar info\" width=\"22\" height=\"14\"/>", "nobody knows (△)");
        for (class, name) in
            timeline::CLASSES.iter().filter(|(class, _)| series.bands.iter().any(|band| timeline::class(&band.kind) == *class))
        {
            sign(&format!("<rect class=\"fault {class}\" x=\".5\" y=\".5\" width=\"21\" height=\"13\"/>"), &format!("fault: {name}"));
        }
        legend.push_str("</ul>");
        let shown = if series.points.len() < series.operations {
            format!(
                " Of {} calls, {} are drawn as points, the slowest of each moment among them; bars and lines count all.",
                number(series.operations as u64),
                number(series.points.len() as u64)
            )
        } else {
            String::new()
        };
        let gaps: Vec<Vec<String>> = series
            .gaps
            .iter()
            .map(|gap| {
                let during = if gap.during.is_empty() { "no fault".to_owned() } else { escape(&gap.during.join("; ")) };
                vec![span(gap.to_us - gap.from_us), format!("{:.2}\u{a0}s", (gap.from_us - series.from_us) as f64 / 1e6), during]
            })
            .collect();
        let buckets: Vec<Vec<String>> = series
            .buckets
            .iter()
            .filter(|bucket| bucket.ok + bucket.fail + bucket.info + bucket.begun > 0)
            .map(|bucket| {
                let cell = |value: u64| if value == 0 { "–".to_owned() } else { span(value) };
                vec![
                    format!("{:.1}\u{a0}s", (bucket.from_us - series.from_us) as f64 / 1e6),
                    number(bucket.ok),
                    number(bucket.fail),
                    number(bucket.info),
                    cell(bucket.p50_us),
                    cell(bucket.p99_us),
                    cell(bucket.max_us),
                    number(bucket.begun),
                ]
            })
            .collect();
        let headers = ["From", "Done", "Refused", "Unknown", "Median", "99th", "Slowest", "Attempts begun"];
        format!(
            "<section><h2>Timeline</h2>{legend}<figure><div class=\"scroll\" tabindex=\"0\" aria-label=\"Timeline; scroll sideways\">{}</div>\
             <figcaption class=\"quiet\">Shaded: a fault is in force. Each bar is {}.{shown}</figcaption></figure>\
             <h3>The longest times without a call that was done</h3>{}<details><summary>The timeline as a table</summary>{}</details></section>",
            timeline::draw(series),
            span(series.bucket_us),
            table("Gaps", &["How long", "From", "Faults in force then, or just before"], &gaps),
            table("Calls over time", &headers, &buckets),
        )
    }

    /// The faults, one by one.
    pub fn faults(&self) -> String {
        let series = self.series;
        if series.bands.is_empty() {
            return "<section><h2>Faults</h2><p>No fault was recorded.</p></section>".to_owned();
        }
        let rows: Vec<Vec<String>> = series
            .bands
            .iter()
            .map(|band| {
                let led: Vec<String> = band.led_shards.iter().map(u32::to_string).collect();
                vec![
                    escape(&band.kind),
                    escape(&band.targets.join(", ")),
                    format!("{:.2}\u{a0}s", (band.from_us.saturating_sub(series.from_us)) as f64 / 1e6),
                    band.to_us.map_or_else(|| "–".to_owned(), |to| span(to.saturating_sub(band.from_us))),
                    escape(&band.state),
                    led.join(", "),
                    escape(&band.note),
                ]
            })
            .collect();
        let headers = ["Kind", "Target", "Begin", "Lasted", "State", "Led shards", "Note"];
        format!("<section><h2>Faults</h2>{}</section>", table("Faults in the order of time", &headers, &rows))
    }

    /// A place to look into single runs.
    pub fn runs(&self) -> String {
        let runs = self.runs;
        if runs.list.is_empty() {
            return String::new();
        }
        let part = if runs.list.len() < runs.total {
            format!(
                "The page holds {} of {}: violated ones, those that stand out, the slowest, and others spread over time.",
                number(runs.list.len() as u64),
                count(runs.total as u64, "run", "runs")
            )
        } else {
            format!("All of {}; those that stand out come first.", count(runs.total as u64, "run", "runs"))
        };
        format!(
            "<section><h2 id=\"runs\">Look into a run</h2><p>{part} Bars are attempts from the ledgers that workers keep, from begin to end, and calls of clients; marks in \
             bars are effects. A dashed bar has no end that anybody wrote down.</p><div class=\"choose noprint\"><label class=\"quiet\" for=\"run-filter\">Filter</label>\
             <input id=\"run-filter\" type=\"search\" autocomplete=\"off\"><label class=\"quiet\" for=\"run-choice\">Run</label><select id=\"run-choice\"></select>\
             <button id=\"run-before\" type=\"button\">Previous</button><button id=\"run-after\" type=\"button\">Next</button></div>\
             <div id=\"run-view\" aria-live=\"polite\"><noscript><p>This part needs scripts; everything else is here without.</p></noscript></div></section>"
        )
    }
}
