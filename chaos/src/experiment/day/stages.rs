//! The order of a game day.
//!
//! ```text
//! stage up → ready → workload starts → settle → experiment → heal → workload ends → runs end → export → judge → report → stage down
//! ```

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use serde_json::Value;
use tokio::{
    process::Child,
    time::{sleep, timeout},
};

use super::{
    super::{
        journal::{Journal, Status},
        model::Experiment,
        player::{self, Options, Stops},
    },
    collect::{self, About},
    show::Show,
    suits::must_suit_dev,
    target::{Target, must_be_local},
    tools::{Cluster, Judgement, Tools},
};
use crate::record::folder::Folder;

/// How often a question is asked again.
const AGAIN: Duration = Duration::from_millis(500);
/// How long nodes may take to be ready.
const READY: Duration = Duration::from_secs(90);
/// How long healing may take until nodes are ready again.
const HEALED: Duration = Duration::from_secs(120);

/// What a day is made of.
pub struct Day {
    /// The experiment.
    pub experiment: Experiment,
    /// How its method is played. Values for `target`, `seed`, `endpoints` and `results` are added.
    pub options: Options,
    /// Whom it is held on.
    pub target: Target,
    /// Targets on other machines are meant.
    pub allow_remote: bool,
    /// Leaves the workload out: somebody else makes one.
    pub no_workload: bool,
    /// Keeps the private stage.
    pub keep: bool,
    /// Where the results go.
    pub results: Folder,
    /// With what and how.
    pub about: About,
    /// This program's other parts.
    pub tools: Tools,
    /// How somebody stops it.
    pub stops: Stops,
    /// What people see.
    pub show: Arc<Show>,
}

/// How a day came out.
#[derive(Debug)]
pub struct Outcome {
    /// What the method left; none if it did not come to that.
    pub journal: Option<Journal>,
    /// The judgement of the evidence; none if there was none.
    pub judgement: Option<Judgement>,
    /// What went wrong with the day itself.
    pub harness_errors: Vec<String>,
}

impl Day {
    /// Holds it. Whatever happens, faults are healed, a private stage is taken down, and what is known is in the results folder.
    pub async fn hold(mut self) -> Outcome {
        let mut outcome = Outcome { journal: None, judgement: None, harness_errors: Vec::new() };
        let bound = Duration::from_secs(self.experiment.game_day.bound_seconds);
        let stop_at_bound = {
            let (stops, show) = (self.stops.clone(), self.show.clone());
            tokio::spawn(async move {
                sleep(bound).await;
                show.bad(&format!("the day took longer than {} s: it is ended", bound.as_secs()));
                stops.method.cancel();
            })
        };
        let private = match &self.target {
            Target::Private => {
                tempfile::Builder::new().prefix("quorus-chaos-").tempdir().context("making a folder for the stage").map(Some)
            }
            _ => Ok(None),
        };
        match private {
            Err(error) => outcome.harness_errors.push(format!("{error:#}")),
            Ok(private) => {
                let folder = private.as_ref().map(|folder| folder.path().to_owned());
                match self.cluster(folder.as_deref()).await {
                    Err(error) => outcome.harness_errors.push(format!("{error:#}")),
                    Ok(cluster) => self.on(cluster.as_ref(), &mut outcome).await,
                }
                if let Some(folder) = private {
                    self.take_down(folder, &mut outcome).await;
                }
            }
        }
        stop_at_bound.abort();
        for error in &outcome.harness_errors {
            self.show.bad(&format!("the day itself: {error}"));
        }
        outcome
    }

    /// The cluster that the day is held on; none if only the experiment's activities are carried out.
    async fn cluster(&self, private: Option<&Path>) -> anyhow::Result<Option<Cluster>> {
        let (kind, folder): (&str, PathBuf) = match (&self.target, private) {
            (Target::None, _) => return Ok(None),
            (Target::Dev(folder), _) => ("dev", folder.clone()),
            (Target::Stage(folder), _) => ("stage", folder.clone()),
            (Target::Private, Some(folder)) => {
                let size = &self.experiment.game_day.stage;
                self.show.part(&format!("stage: {} nodes, {} workers in {}", size.nodes, size.workers, folder.display()));
                self.tools.cluster_up(folder, size).await?;
                ("stage", folder.to_owned())
            }
            (Target::Private, None) => anyhow::bail!("a private stage needs a folder"),
        };
        let cluster = Tools::open(kind, &folder)?;
        if let Target::Dev(_) = &self.target {
            must_suit_dev(&self.experiment, cluster.comes_back)?;
        }
        must_be_local(&cluster.endpoints, self.allow_remote)?;
        self.until(READY, "the nodes are ready", || self.tools.ready(&cluster)).await?;
        self.show.good(&format!("ready: {}", cluster.endpoints.join(", ")));
        Ok(Some(cluster))
    }

    async fn on(&mut self, cluster: Option<&Cluster>, outcome: &mut Outcome) {
        let vars = &mut self.options.vars;
        for (name, value) in [
            ("seed", Some(Value::from(self.about.seed.to_string()))),
            ("results", Some(Value::from(self.results.path().display().to_string()))),
            ("target", cluster.map(|cluster| Value::from(cluster.target.clone()))),
            ("endpoints", cluster.map(|cluster| Value::from(cluster.endpoints.join(",")))),
        ] {
            if let Some(value) = value.filter(|_| self.experiment.configuration.contains_key(name)) {
                vars.entry(name.to_owned()).or_insert(value);
            }
        }
        let workload = match cluster.filter(|_| !self.no_workload && self.options.dry.is_none()) {
            Some(cluster) => match self.start_workload(cluster).await {
                Ok(workload) => Some(workload),
                Err(error) => {
                    outcome.harness_errors.push(format!("{error:#}"));
                    return;
                }
            },
            None => None,
        };
        self.play(outcome).await;
        if let Some(cluster) = cluster {
            let healed_us = self.heal(cluster, outcome).await;
            if let Some(workload) = workload {
                let told = self.finish_workload(workload, outcome).await;
                let at_rest = self.wait_for_the_end(cluster, outcome).await;
                // Without the clients' word, everything in the histories would seem to come from nowhere.
                if told {
                    self.judge(cluster, healed_us, at_rest, outcome).await;
                } else {
                    outcome.harness_errors.push("what clients asked and were told is not known: nothing can be judged".to_owned());
                }
            }
        }
    }

    async fn start_workload(&self, cluster: &Cluster) -> anyhow::Result<Child> {
        let load = &self.experiment.game_day.workload;
        self.show.part(&format!("workload: {} runs of mix {}, {} a second, seed {}", load.runs, load.mix, load.rate, self.about.seed));
        // A stage has workers of its own, which can be broken; another cluster gets some from the workload.
        let workers = if matches!(self.target, Target::Dev(_)) { self.experiment.game_day.stage.workers } else { 0 };
        let mut workload = self.tools.workload(cluster, load, workers, self.about.seed, self.results.path())?;
        let settle = Duration::from_secs(self.experiment.game_day.settle_seconds);
        tokio::select! {
            () = sleep(settle) => {}
            () = self.stops.method.cancelled() => {}
        }
        match workload.try_wait()? {
            Some(status) if !status.success() => {
                anyhow::bail!("the workload ended at once with {status}; see {}", self.results.file("workload.log").display())
            }
            _ => Ok(workload),
        }
    }

    async fn play(&self, outcome: &mut Outcome) {
        match player::play(&self.experiment, &self.options, &self.stops, self.show.clone()).await {
            Ok(journal) => {
                // A fault that could not be made proves nothing, and the rest must not look as if it had been.
                if self.options.dry.is_none() {
                    outcome.harness_errors.extend(journal.actions_that_failed());
                }
                if journal.status != Status::Completed {
                    let status = format!("{:?}", journal.status).to_lowercase();
                    outcome.harness_errors.push(format!("the experiment was {status}"));
                } else if journal.run.is_empty() && !self.experiment.method.is_empty() {
                    outcome.harness_errors.push("the hypothesis did not hold at the start: nothing was tested".to_owned());
                }
                outcome.journal = Some(journal);
            }
            Err(error) => outcome.harness_errors.push(format!("{error:#}")),
        }
    }

    /// Returns when it was over.
    async fn heal(&self, cluster: &Cluster, outcome: &mut Outcome) -> u64 {
        self.show.part("healing");
        if let Err(error) = self.tools.heal(cluster).await {
            outcome.harness_errors.push(format!("{error:#}"));
        }
        let healed_us = quorus_client::monotonic_us();
        match self.until(HEALED, "all nodes are ready again", || self.tools.ready(cluster)).await {
            Ok(()) => self.show.good("all nodes are ready again"),
            Err(error) => outcome.harness_errors.push(format!("{error:#}")),
        }
        healed_us
    }

    /// True if it has written down what its clients asked and were told.
    async fn finish_workload(&self, mut workload: Child, outcome: &mut Outcome) -> bool {
        let load = &self.experiment.game_day.workload;
        let patience = Duration::from_secs(self.experiment.game_day.end_within_seconds + load.runs / load.rate.max(1));
        self.show.part("waiting for the workload's end");
        if self.stops.method.is_cancelled() {
            // Ends in order: it writes down what it knows.
            self.ask_to_end(&workload);
        }
        match timeout(patience, workload.wait()).await {
            Ok(Ok(status)) if status.success() => self.show.good("the workload has ended"),
            Ok(Ok(status)) => outcome.harness_errors.push(format!("the workload ended with {status}; see workload.log")),
            Ok(Err(error)) => outcome.harness_errors.push(format!("waiting for the workload: {error}")),
            Err(_) => {
                outcome.harness_errors.push(format!("the workload was not at its end {} s after healing", patience.as_secs()));
                self.ask_to_end(&workload);
                // It has some time to write down what it knows; then it is killed with its handle.
                let _ = timeout(Duration::from_secs(10), workload.wait()).await;
            }
        }
        std::fs::metadata(self.results.file("history.jsonl")).is_ok_and(|history| history.len() > 0)
    }

    #[expect(unsafe_code, reason = "the standard library can only kill, not ask")]
    fn ask_to_end(&self, child: &Child) {
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // SAFETY: a number is passed; the child was not waited for yet, so that the id is still its own.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
    }

    /// True if all runs have ended.
    async fn wait_for_the_end(&self, cluster: &Cluster, outcome: &mut Outcome) -> bool {
        let patience = Duration::from_secs(self.experiment.game_day.end_within_seconds);
        self.show.part("waiting until all runs have ended");
        let ended = self.until(patience, "all runs have ended", || self.tools.runs_ended(cluster)).await;
        match &ended {
            Ok(()) => self.show.good("all runs have ended"),
            // Not a fault of the day: a run that does not end is what the judgement is about.
            Err(error) => self.show.warn(&format!("{error:#}")),
        }
        if self.stops.rollbacks.is_cancelled() {
            outcome.harness_errors.push("interrupted while runs were going on".to_owned());
        }
        ended.is_ok()
    }

    async fn judge(&self, cluster: &Cluster, healed_us: u64, at_rest: bool, outcome: &mut Outcome) {
        self.show.part("exporting what every replica has, and judging");
        // What the workload says about itself counts, too.
        let told = std::fs::read_to_string(self.results.file("harness.jsonl")).unwrap_or_default();
        outcome.harness_errors.extend(told.lines().filter_map(|line| serde_json::from_str(line).ok()));
        if let Err(error) = self.tools.export(cluster, self.results.path()).await {
            outcome.harness_errors.push(format!("{error:#}"));
            // What replicas that still move say is of different times: a child would seem to be nobody's.
            if !at_rest {
                outcome.harness_errors.push("runs were still going on: nothing can be judged".to_owned());
                return;
            }
        }
        let exported_us = quorus_client::monotonic_us();
        let gathered = collect::gather(&cluster.folder, &self.results)
            .and_then(|()| collect::complete_setup(&self.results, &self.experiment.title, &self.about, healed_us, exported_us))
            .and_then(|()| self.results.write_lines("harness.jsonl", &outcome.harness_errors));
        if let Err(error) = gathered {
            outcome.harness_errors.push(format!("{error:#}"));
            return;
        }
        match self.tools.judge(self.results.path()).await {
            Ok(judgement) => {
                outcome.judgement = Some(judgement);
                if judgement == Judgement::Violated {
                    match collect::keep_data(&cluster.folder, &self.results) {
                        Ok(true) => self.show.warn("the cluster's data is kept in data/"),
                        Ok(false) => self.show.warn("the cluster's data is too large to be kept"),
                        Err(error) => self.show.warn(&format!("the cluster's data could not be kept: {error:#}")),
                    }
                }
            }
            Err(error) => outcome.harness_errors.push(format!("{error:#}")),
        }
    }

    async fn take_down(&self, folder: tempfile::TempDir, outcome: &mut Outcome) {
        if self.keep {
            let folder = folder.keep();
            self.show.warn(&format!(
                "the stage goes on in {}; end it with: quorus-chaos cluster down --dir {}",
                folder.display(),
                folder.display()
            ));
            return;
        }
        match self.tools.cluster_down(folder.path()).await {
            Ok(()) => self.show.say("the stage is taken down"),
            Err(error) => {
                // What still runs would lose its folder: it stays for whoever looks after it.
                outcome.harness_errors.push(format!("{error:#}; its folder stays: {}", folder.keep().display()));
            }
        }
    }

    /// Asks until the answer is yes, the patience is over, or somebody stops the rollbacks, too.
    async fn until<F: Future<Output = anyhow::Result<()>>>(
        &self,
        patience: Duration,
        what: &str,
        ask: impl Fn() -> F,
    ) -> anyhow::Result<()> {
        let asking = async {
            loop {
                match ask().await {
                    Ok(()) => return,
                    Err(error) => self.show.note_once(&format!("not yet: {error:#}")),
                }
                sleep(AGAIN).await;
            }
        };
        tokio::select! {
            done = timeout(patience, asking) => done.with_context(|| format!("after {} s it is not yet so that {what}", patience.as_secs())),
            () = self.stops.rollbacks.cancelled() => anyhow::bail!("interrupted before {what}"),
        }
    }
}

#[cfg(test)]
mod tests;
