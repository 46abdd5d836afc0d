//! What was learned about a service while planning it.

use crate::status::{Condition, Truth};
use crate::trouble::Trouble;

/// Notes that end in the status.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What a start waits for.
    pub(crate) waiting: Option<String>,
    /// What failed and waits before the next try.
    pub(crate) back_off: Option<String>,
    /// A replica that is on its way out.
    pub(crate) stopping: Option<String>,
    /// A replica that ended for good: with success, and how.
    pub(crate) ended: Option<(bool, String)>,
    /// The gravest trouble.
    pub(crate) trouble: Option<Trouble>,
}

impl Findings {
    /// Something fails and is tried again later.
    pub(crate) fn back_off(&mut self, trouble: Trouble) {
        self.back_off = Some(trouble.what.clone());
        self.note(trouble);
    }

    /// Quarantine outweighs the rest; else the first that is found is told.
    pub(crate) fn note(&mut self, trouble: Trouble) {
        let graver = |known: &Trouble| trouble.quarantined && !known.quarantined;
        if self.trouble.as_ref().is_none_or(graver) {
            self.trouble = Some(trouble);
        }
    }

    /// The condition that says whether something is wrong, and what to do about it.
    pub(crate) fn healthy(&self) -> Condition {
        match &self.trouble {
            None => Condition::new("Healthy", Truth::True, "NoFailure", ""),
            Some(trouble) => {
                Condition::new("Healthy", Truth::False, trouble.problem.reason(), trouble.message())
            }
        }
    }
}
