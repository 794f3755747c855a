//! The recorder behind `/metrics`.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::{
    names::{self, Kind},
    process,
};

/// Bounds in seconds, for calls and for waits in a queue: half a millisecond, the aim for a commit, up to half a minute.
const SHORT_SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Bounds in seconds, for the work of steps: from a step that the node itself does up to a day.
const LONG_SECONDS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0];

/// Bounds for how many share something.
const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1_024.0];

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Installs the recorder of this process and describes all metrics. Later calls return the same handle.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(names::STEP_DURATION.to_owned()), LONG_SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SHORT_SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &[256.0, 1_024.0, 8_192.0, 65_536.0, 524_288.0, 4_194_304.0])?
        .set_buckets_for_metric(Matcher::Suffix("_batches".to_owned()), COUNTS)?
        .set_buckets_for_metric(Matcher::Suffix("_jobs".to_owned()), COUNTS)?
        .install_recorder()?;
    describe();
    // Whoever came second lost the race inside install_recorder and never gets here.
    Ok(HANDLE.get_or_init(|| handle).clone())
}

/// The text of `/metrics`.
pub(crate) fn render(handle: &PrometheusHandle) -> String {
    process::measure();
    handle.render()
}

fn describe() {
    for description in names::DESCRIPTIONS {
        match description.kind {
            Kind::Counter => metrics::describe_counter!(description.name, description.help),
            Kind::Gauge => metrics::describe_gauge!(description.name, description.help),
            Kind::Histogram => metrics::describe_histogram!(description.name, description.help),
        }
    }
    metrics::gauge!(names::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}
