//! Bugs that are planted on purpose, so that the checks which should find them are seen to find them.
//!
//! A place in the code asks `active(Mutant::…)` and, if so, does the wrong thing. Without the feature `planted` the answer is a constant `false`, and
//! the compiler removes what is wrong. With it, at most one mutant is active in a process: the one that `QUORUS_MUTANT` names, or that `plant` chose
//! before anybody asked.
//!
//! Invariants: no mutant without the feature; one answer per process; a name that is no mutant's stops the process instead of testing nothing.
//! Why one feature and not one per mutant: ADR 0015.

mod catalogue;

pub use catalogue::Mutant;

/// The environment variable that names the mutant of a process.
pub const VARIABLE: &str = "QUORUS_MUTANT";

/// True if the mutant is planted in this process.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn active(_mutant: Mutant) -> bool {
    false
}

#[cfg(feature = "planted")]
pub use planted::{AlreadyChosen, active, plant};

#[cfg(feature = "planted")]
mod planted {
    use std::sync::OnceLock;

    use super::{Mutant, VARIABLE};

    static CHOSEN: OnceLock<Option<Mutant>> = OnceLock::new();

    /// Somebody asked before, so the process has run with another choice.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct AlreadyChosen;

    impl std::fmt::Display for AlreadyChosen {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("this process has begun with another mutant; start a new one")
        }
    }

    impl std::error::Error for AlreadyChosen {}

    /// Chooses the mutant of this process, or none.
    ///
    /// # Errors
    /// If another choice was made before.
    pub fn plant(mutant: Option<Mutant>) -> Result<(), AlreadyChosen> {
        if *CHOSEN.get_or_init(|| mutant) == mutant { Ok(()) } else { Err(AlreadyChosen) }
    }

    /// True if the mutant is planted in this process.
    #[inline]
    pub fn active(mutant: Mutant) -> bool {
        *CHOSEN.get_or_init(from_environment) == Some(mutant)
    }

    fn from_environment() -> Option<Mutant> {
        let name = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())?;
        match Mutant::named(&name) {
            Some(mutant) => Some(mutant),
            // A typing mistake would look like a mutant that nothing catches.
            None => panic!("{VARIABLE}={name} is no mutant; there are: {}", Mutant::ALL.map(Mutant::name).join(", ")),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn one_choice_holds_for_the_whole_process() {
            plant(Some(Mutant::NoFsync)).unwrap();
            assert!(active(Mutant::NoFsync) && !active(Mutant::NoFenceCheck));
            assert_eq!(plant(None), Err(AlreadyChosen));
            assert_eq!(plant(Some(Mutant::NoFsync)), Ok(()));
        }
    }
}
