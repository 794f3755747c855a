//! With what, where and how; and how to do it again.

use super::{
    super::html::{escape, pairs},
    Page,
};

impl Page<'_> {
    /// Everything that is needed to repeat it, and what people saw.
    pub fn setup(&self) -> String {
        let (about, setup) = (&self.material.about, &self.material.evidence.setup);
        let mut rows: Vec<(String, String)> = Vec::new();
        let mut row = |name: &str, value: String| {
            if !value.is_empty() {
                rows.push((name.to_owned(), value));
            }
        };
        row("Seed", format!("<code>{}</code>", if about.experiment.is_empty() { setup.seed } else { about.seed }));
        let commit = if about.git_sha.is_empty() { &setup.commit } else { &about.git_sha };
        row("Commit", if commit.is_empty() { "not known".to_owned() } else { format!("<code>{}</code>", escape(commit)) });
        row("Begun", escape(&about.begun));
        if about.seconds > 0.0 {
            row("Took", format!("{:.1} s", about.seconds));
        }
        if !about.experiment.is_empty() {
            let (stage, load) = (&about.game_day.stage, &about.game_day.workload);
            row("Stage", escape(&format!("{} nodes, {} workers {}", stage.nodes, stage.workers, stage.flags.join(" "))));
            row("Workload", escape(&format!("{} runs of mix {}, {} a second", load.runs, load.mix, load.rate)));
        }
        if setup.lease_ms > 0 {
            row("Lease, clock bound", format!("{} ms, {} ms", setup.lease_ms, setup.clock_bound_ms));
        }
        if setup.simulated {
            row("Simulated", "yes: time, network and disks are simulated".to_owned());
        }
        if about.processors > 0 {
            row("Machine", escape(&format!("{} processors, kernel {}", about.processors, about.kernel)));
        }
        for (name, hash) in &about.programs {
            row(&format!("SHA-256 of {name}"), format!("<code>{}</code>", escape(hash)));
        }
        let mut html = pairs("Setup", &rows);
        if !about.again.is_empty() {
            html.push_str(&format!(
                "<h3>Do it again</h3><pre>{}</pre><p>The seed fixes the workload, the victims and the order of faults. Real processes are not deterministic: the same seed \
                 asks the same, and may be answered in another order. Judge the recorded evidence again, with a newer judge, with <code>quorus-chaos recheck DIR</code>.</p>",
                escape(&about.again)
            ));
        }
        if !about.lines.is_empty() {
            html.push_str(&format!(
                "<details><summary>What was shown while it was held</summary><pre>{}</pre></details>",
                escape(&about.lines.join("\n"))
            ));
        }
        format!("<section><h2>Setup</h2>{html}</section>")
    }
}
