//! How far a batch had come when its process was killed.

use std::collections::BTreeMap;

use super::writes::{ANSWERED, CALLED};

/// How far the call of `persist_batch` has come that was heard last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Within {
    /// There is none, or it has answered.
    #[default]
    No,
    /// No step of the batch was told.
    Asked,
    /// The first step was told: nothing need have been done for the batch.
    Begun,
    /// A later step was told.
    Inner,
}

impl Within {
    /// What it comes to with another step.
    pub(super) fn after(self, step: &str) -> Self {
        match self {
            _ if step == ANSWERED => Self::No,
            Self::Asked if is_of_batch(step) => Self::Begun,
            Self::Begun if is_of_batch(step) => Self::Inner,
            other => other,
        }
    }
}

/// Whether it is a step of a batch: others may be told meanwhile, by other threads of a backend.
pub(super) fn is_of_batch(step: &str) -> bool {
    step.starts_with("batch: ") || step.starts_with("part: ")
}

/// The steps that a batch takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Course {
    /// The first of them, if there are any.
    pub(crate) first: Option<String>,
    /// Whether nothing is told between the first and the last: a statement does all.
    pub(crate) one_statement: bool,
}

impl Course {
    /// Those of the calls among the steps of a child.
    pub(crate) fn of(steps: &[String]) -> Self {
        let calls: Vec<Vec<&String>> = steps
            .split(|step| step == CALLED)
            .skip(1)
            .map(|call| {
                let call = call.iter().take_while(|step| *step != ANSWERED);
                call.filter(|step| is_of_batch(step)).collect()
            })
            .collect();
        let first = calls.iter().find_map(|call| call.first());
        Self {
            first: first.map(ToString::to_string),
            one_statement: first.is_some() && calls.iter().all(|call| call.len() <= 2),
        }
    }
}

/// The calls that a kill cut off before they answered.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    /// By the run of the child: whether its steps tell that the kill fell inside a commit.
    pub(crate) runs: BTreeMap<u64, bool>,
    /// Of how many calls a part turned out to be in the store.
    pub(crate) stored: u64,
    /// How many of those the steps do not tell of.
    pub(crate) stored_only: u64,
}

impl Cut {
    /// A part that this run had begun is in the store.
    pub(super) fn store(&mut self, run: u64) {
        if let Some(told) = self.runs.remove(&run) {
            self.stored += 1;
            self.stored_only += u64::from(!told);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_kill_is_inside_after_the_second_step_of_a_batch_and_before_its_answer() {
        let names = [
            "checkpoint: moved",
            CALLED,
            "batch: received",
            "batch: begun",
            ANSWERED,
        ];
        let mut within = Within::Asked;
        let met = names.map(|step| {
            within = within.after(step);
            within
        });
        let (asked, no) = (Within::Asked, Within::No);
        assert_eq!(met, [asked, asked, Within::Begun, Within::Inner, no]);
    }

    #[test]
    fn a_batch_of_two_steps_is_one_statement() {
        let call = [
            CALLED,
            "batch: received",
            "store: x",
            "batch: committed",
            ANSWERED,
        ];
        let course = Course::of(&steps(&call));
        assert_eq!(course.first.as_deref(), Some("batch: received"));
        assert!(course.one_statement);
        let mut more = steps(&call);
        more.extend(steps(&[
            CALLED,
            "batch: received",
            "part: a",
            "part: b",
            ANSWERED,
        ]));
        assert!(!Course::of(&more).one_statement);
        assert_eq!(
            Course::of(&steps(&["init", CALLED, ANSWERED])),
            Course::default()
        );
    }

    #[test]
    fn a_call_that_was_stored_counts_once() {
        let mut cut = Cut::default();
        cut.runs.extend([(1, true), (2, false)]);
        for run in [1, 1, 2, 3] {
            cut.store(run);
        }
        assert_eq!((cut.stored, cut.stored_only), (2, 1));
    }
}
