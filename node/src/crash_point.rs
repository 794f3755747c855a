//! Places where a test makes a node die, so that it dies exactly between two things that matter; and one where a test makes it wait.
//!
//! Only in builds with debug assertions, and only if `QUORUS_CRASH_AT=<place>@<marker file>` is set: the first node that reaches the place creates
//! the marker and aborts, as if by `kill -9`; whoever comes later finds the marker and goes on.

/// A place. Each lies between what its name says and the next thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A lease is decided, and not proposed.
    LeaseDecided,
    /// A lease is applied, and its task not pushed.
    LeaseApplied,
    /// An outcome is decided on, and not proposed.
    OutcomeDecided,
    /// An outcome is applied, and not acknowledged.
    OutcomeApplied,
    /// A child was accepted by its shard, and its parent's shard took no note.
    ChildAccepted,
    /// A parent took note of its child's end, and the child's shard does not know.
    ParentTold,
}

/// Dies here if a test wants it.
#[cfg(debug_assertions)]
pub(crate) fn reached(place: Place) {
    use std::sync::LazyLock;
    static WANTED: LazyLock<Option<(String, String)>> = LazyLock::new(|| {
        let wanted = std::env::var("QUORUS_CRASH_AT").ok()?;
        wanted.split_once('@').map(|(place, marker)| (place.to_owned(), marker.to_owned()))
    });
    let Some((wanted, marker)) = &*WANTED else { return };
    let name = match place {
        Place::LeaseDecided => "lease-decided",
        Place::LeaseApplied => "lease-applied",
        Place::OutcomeDecided => "outcome-decided",
        Place::OutcomeApplied => "outcome-applied",
        Place::ChildAccepted => "child-accepted",
        Place::ParentTold => "parent-told",
    };
    if wanted == name && std::fs::File::create_new(marker).is_ok() {
        std::process::abort();
    }
}

/// Does nothing: crash points exist in test builds only.
#[cfg(not(debug_assertions))]
pub(crate) fn reached(_place: Place) {}

/// Group 0 is applied here no further while the file that `QUORUS_STALL_SYSTEM` names holds this process's id: what the node knows of it grows
/// old, and everything else goes on.
#[cfg(debug_assertions)]
pub(crate) fn stalled() {
    use std::{sync::LazyLock, thread::sleep, time::Duration};
    static FILE: LazyLock<Option<std::ffi::OsString>> = LazyLock::new(|| std::env::var_os("QUORUS_STALL_SYSTEM"));
    let Some(file) = &*FILE else { return };
    let wanted = || std::fs::read_to_string(file).is_ok_and(|pid| pid.trim() == std::process::id().to_string());
    if wanted() {
        tokio::task::block_in_place(|| {
            while wanted() {
                sleep(Duration::from_millis(20));
            }
        });
    }
}

/// Does nothing: nobody waits but in test builds.
#[cfg(not(debug_assertions))]
pub(crate) fn stalled() {}
