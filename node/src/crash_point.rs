//! Places where a test makes a node die, so that it dies exactly between two things that matter.
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
