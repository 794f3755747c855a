//! Makes the client that a command needs, and tells a person who waits why it takes longer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use quorus_client::{Client, Options, Retrying};

use super::{args::Globals, failure::Failure, term};

/// How long a call may take unless somebody says otherwise: longer than any change of leader, shorter than a person's patience.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Outages shorter than this are nobody's business.
const NOTICE_AFTER: Duration = Duration::from_secs(1);

/// A client as the flags say.
pub(crate) fn connect(globals: &Globals) -> Result<Client, Failure> {
    connect_with(globals, globals.timeout.unwrap_or(CALL_TIMEOUT), None)
}

/// The same, with a trace context that goes along with every call.
pub(crate) fn connect_with_trace(globals: &Globals, traceparent: Option<String>) -> Result<Client, Failure> {
    connect_with(globals, globals.timeout.unwrap_or(CALL_TIMEOUT), traceparent)
}

/// A client whose `--timeout` bounds a wait, which the caller does; single calls have their own bound.
pub(crate) fn connect_to_wait(globals: &Globals, traceparent: Option<String>) -> Result<Client, Failure> {
    connect_with(globals, globals.timeout.unwrap_or(CALL_TIMEOUT).max(CALL_TIMEOUT), traceparent)
}

fn connect_with(globals: &Globals, timeout: Duration, traceparent: Option<String>) -> Result<Client, Failure> {
    let told = AtomicBool::new(false);
    let quiet = globals.quiet;
    let on_retry = move |retrying: &Retrying<'_>| {
        if !quiet && retrying.elapsed >= NOTICE_AFTER && !told.swap(true, Ordering::Relaxed) {
            term::note(&format!("no answer from {} yet ({}), trying on\n", retrying.endpoint, retrying.error));
        }
    };
    let options = Options {
        endpoints: globals.endpoints.clone(),
        timeout,
        namespace: globals.namespace.clone().unwrap_or_else(|| "default".to_owned()),
        principal: Some(globals.principal()),
        traceparent,
        on_retry: Some(Arc::new(on_retry)),
        ..Options::default()
    };
    Ok(Client::new(options)?)
}
