//! What an expression may read, which depends on where it stands.

use super::path::Root;

/// What `run` has.
pub(crate) const RUN_FIELDS: &[&str] = &["id", "labels", "namespace", "started_at", "uid", "workflow"];

/// What `self` has in a compensation.
pub(crate) const SELF_FIELDS: &[&str] = &["checkpoint", "item", "output", "state", "with"];

/// Every root of the language, and where it is available if not everywhere.
const ROOTS: &[(&str, &str)] = &[
    ("index", "only inside of `for_each` and `repeat`"),
    ("input", "not where only other documents are at hand"),
    ("item", "only inside of `for_each`"),
    ("now", "not where only other documents are at hand"),
    ("response", "only in the `value` of a gate's `http` query"),
    ("run", "not where only other documents are at hand"),
    ("secrets", "only in `with` of a task and in headers"),
    ("self", "only in `compensate`"),
    ("signal", "only in the `match` of a `signal` step"),
    ("steps", "not before the run has begun"),
    ("value", "only in the conditions of a gate with one query"),
    ("values", "only in the conditions of a gate with `queries`"),
];

/// What an expression may read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading<'a> {
    /// `input`, `run` and `now`.
    pub(crate) base: bool,
    /// `steps`.
    pub(crate) steps: bool,
    /// `item`, of the `for_each` at this position.
    pub(crate) item: Option<usize>,
    /// `index`, of the container at this position.
    pub(crate) index: Option<usize>,
    /// `signal`.
    pub(crate) signal: bool,
    /// The fields of `self`; without any there is none.
    pub(crate) this: &'static [&'static str],
    /// `run.status` and `run.error`.
    pub(crate) run_end: bool,
    /// `${secrets.<name>}`, alone.
    pub(crate) secrets: bool,
    /// Documents of the caller; their members if they are known.
    pub(crate) named: &'a [(&'a str, Option<&'a [&'a str]>)],
}

impl Reading<'_> {
    /// What everything in a run may read.
    pub(crate) const RUN: Self =
        Self { base: true, steps: true, item: None, index: None, signal: false, this: &[], run_end: false, secrets: false, named: &[] };

    /// The position of a document of the caller.
    pub(super) fn document(&self, name: &str) -> Option<usize> {
        self.named.iter().position(|(known, _)| *known == name)
    }

    pub(super) fn offers(&self, name: &str) -> bool {
        match name {
            "input" | "run" | "now" => self.base,
            "steps" => self.steps,
            "item" => self.item.is_some(),
            "index" => self.index.is_some(),
            "signal" => self.signal,
            "self" => !self.this.is_empty(),
            _ => self.document(name).is_some(),
        }
    }

    /// The names of all roots that it offers, in order.
    pub(super) fn roots(&self) -> Vec<&str> {
        let known = ROOTS.iter().map(|(name, _)| *name).filter(|name| self.offers(name));
        let others = self.named.iter().map(|(name, _)| *name).filter(|name| ROOTS.iter().all(|(known, _)| known != name));
        let secrets = self.secrets.then_some("secrets");
        let mut roots: Vec<&str> = known.chain(others).chain(secrets).collect();
        roots.sort_unstable();
        roots
    }

    /// Where a root that it does not offer is available; `None` if there is no such root at all.
    pub(super) fn elsewhere(name: &str) -> Option<&'static str> {
        ROOTS.iter().find(|(known, _)| *known == name).map(|(_, place)| *place)
    }

    /// The fields of `run`.
    pub(super) fn run_fields(&self) -> impl Iterator<Item = &'static str> {
        RUN_FIELDS.iter().copied().chain(["error", "status"].into_iter().filter(|_| self.run_end))
    }

    /// The roots that need nothing but their name.
    pub(super) fn simple(&self, name: &str) -> Option<Root> {
        match name {
            "input" => Some(Root::Input),
            "item" => self.item.map(Root::Item),
            "index" => self.index.map(Root::Index),
            "signal" => Some(Root::Signal),
            "self" => Some(Root::This),
            _ => self.document(name).map(Root::Named),
        }
    }
}
