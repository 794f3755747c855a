//! What a run still waits for, because nobody knows whether it came: a run whose signal was lost would wait for it for hours, and one whose resume was lost
//! for ever. These are sent again, as a caller in earnest would, until somebody acknowledges them or the run is over.

use super::runs::Act;
use crate::record::Ending;

/// Acts that must be carried out again. A signal keeps its id, so that it comes once.
#[derive(Debug, Default)]
pub struct Owed(Vec<Act>);

impl Owed {
    /// Takes down how an act ended.
    pub fn note(&mut self, act: &Act, ended: &Result<(), Ending>) {
        let again = match (act, ended) {
            // A refusal may be older than the run: its start was still on the way.
            (Act::Signal { .. }, ended) => ended.is_err(),
            // Refused is a resume of a run that is not paused.
            (Act::Resume, Err(Ending::Info { .. })) => true,
            _ => false,
        };
        if again {
            self.0.push(act.clone());
        }
    }

    /// All of them, which are owed no longer until they are noted again.
    pub fn take(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.0)
    }

    /// True if a resume is among them.
    pub fn has_resume(&self) -> bool {
        self.0.contains(&Act::Resume)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_would_wait_for_is_owed_until_it_is_acknowledged() {
        let signal = Act::Signal { name: "go".to_owned(), id: "s-1".to_owned() };
        let unknown = || Err(Ending::Info { what: "no answer in time".to_owned() });
        let refused = || Err(Ending::Fail { reason: "RUN_NOT_FOUND".to_owned() });
        let mut owed = Owed::default();
        for (act, ended) in [
            (&signal, unknown()),
            (&signal, refused()),
            (&signal, Ok(())),
            (&Act::Resume, unknown()),
            (&Act::Resume, refused()),
            (&Act::Cancel, unknown()),
            (&Act::Pause, unknown()),
        ] {
            owed.note(act, &ended);
        }
        assert!(owed.has_resume());
        assert_eq!(owed.take(), [signal.clone(), signal, Act::Resume]);
        assert!(!owed.has_resume() && owed.take().is_empty());
    }
}
