//! The clients on the peer's side: a closed loop over its HTTP ingress, as `quorus bench chain --concurrency` is over ours.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use reqwest::Client;
use tokio::task::JoinSet;

use crate::report::Sample;

/// Above any patience.
const MICROS_MAX: u64 = 3_600 * 1_000_000;
/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is done, how often, by how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) runs: usize,
    pub(crate) warm_up: usize,
    pub(crate) steps: usize,
    pub(crate) concurrency: usize,
}

impl Load {
    /// The runs of so many clients: three of each, and enough for a figure where they are few.
    pub(crate) fn of(concurrency: usize, steps: usize) -> Self {
        Self { runs: (3 * concurrency).max(60), warm_up: concurrency.max(20), steps, concurrency }
    }

    /// Does it, by a handler of the peer's service.
    pub(crate) async fn drive(self, ingresses: &[String], handler: &str) -> anyhow::Result<Sample> {
        let client = Client::builder().no_proxy().timeout(PATIENCE).pool_max_idle_per_host(usize::MAX).build()?;
        let urls: Arc<[String]> = ingresses.iter().map(|ingress| format!("{ingress}/Bench/{handler}")).collect();
        self.runs(&client, &urls, self.warm_up).await.context("warming up")?;
        let began = Instant::now();
        let latencies = self.runs(&client, &urls, self.runs).await?;
        let millis = |quantile| latencies.value_at_quantile(quantile) as f64 / 1_000.0;
        Ok(Sample::new(self, began.elapsed().as_secs_f64(), millis(0.5), millis(0.99)))
    }

    async fn runs(self, client: &Client, urls: &Arc<[String]>, runs: usize) -> anyhow::Result<Histogram<u64>> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for number in 0..self.concurrency.min(runs) {
            let (client, urls, next, steps) = (client.clone(), urls.clone(), next.clone(), self.steps);
            clients.spawn(async move {
                let mut latencies = Histogram::<u64>::new_with_bounds(1, MICROS_MAX, 3)?;
                let url = urls.get(number % urls.len().max(1)).context("there is no ingress")?;
                while next.fetch_add(1, Ordering::Relaxed) < runs {
                    let began = Instant::now();
                    let answer = client.post(url).json(&steps).send().await.with_context(|| format!("calling {url}"))?;
                    let status = answer.status();
                    let text = answer.text().await?;
                    if !status.is_success() || text.trim() != steps.to_string() {
                        bail!("{url} answered {status}: {text}");
                    }
                    latencies.saturating_record(u64::try_from(began.elapsed().as_micros())?.max(1));
                }
                anyhow::Ok(latencies)
            });
        }
        let mut latencies = Histogram::<u64>::new_with_bounds(1, MICROS_MAX, 3)?;
        while let Some(one) = clients.join_next().await {
            latencies += one.context("a client panicked")??;
        }
        Ok(latencies)
    }
}
