//! Bounds of what requests may hold. Each is checked at the door, so that no later room has to.

/// Messages of up to this size are taken: the payload bound and room for what goes with it.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Links carry what workers sent inside of a message of their own, so they take a bit more: else one message could break a link for ever.
pub const LINK_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 1024 * 1024;
/// Ids and names.
pub(super) const NAME_CHARS_MAX: usize = 200;
/// Labels of a start.
pub(super) const LABELS_MAX: usize = 64;
/// A page of a list.
pub(super) const PAGE_MAX: u32 = 1000;
/// A page of a list when nothing is said.
pub(super) const PAGE_DEFAULT: u32 = 100;
/// Latest firings that come with a schedule.
pub(super) const RECENT: usize = 10;
/// Where counting stops.
pub(super) const COUNT_MAX: u64 = 1_000_000;
/// Where counting stops when nothing is said.
pub(super) const COUNT_DEFAULT: u64 = 10_000;
/// Queues of a worker.
pub(super) const QUEUES_MAX: usize = 100;
/// Tasks of a worker at a time.
pub const CAPACITY_MAX: u32 = 100_000;
/// Leases that a worker comes with.
pub(super) const HELD_MAX: usize = 100_000;

/// True for what may name a run, a queue or a namespace.
pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    !text.is_empty() && text.len() <= NAME_CHARS_MAX && text.chars().all(allowed)
}

/// The page size to use.
pub(super) fn page_size(asked: u32) -> usize {
    let size = if asked == 0 { PAGE_DEFAULT } else { asked.min(PAGE_MAX) };
    size as usize
}
