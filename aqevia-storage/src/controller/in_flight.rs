//! The part that the backend has, and the groups in it.

use std::sync::Arc;

use super::group::{Group, Pending};
use super::retry::Retry;
use crate::{Part, Receipt, Sequence, WorldRecord};

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) part: Arc<Part>,
    pub(super) members: Vec<Member>,
    pub(super) retry: Retry,
    pub(super) in_doubt: bool,
}

/// A group within a part: how many of its records, and all of it but those.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) count: usize,
    /// Without its records.
    pub(super) group: Group,
}

impl InFlight {
    /// What its groups take in the buffer.
    pub(super) fn size(&self) -> Pending {
        let mut size = Pending::default();
        for Member { count, group } in &self.members {
            size.add(Pending {
                records: *count,
                ..group.size()
            });
            size.marks -= usize::from(*count > 0);
        }
        size
    }

    /// The groups as they were accepted.
    pub(super) fn into_groups(self) -> Vec<Group> {
        let records = self.part.records().iter();
        let mut records = records.map(|record| record.record().clone());
        let groups = self.members.into_iter().map(|member| {
            let given: Vec<WorldRecord> = records.by_ref().take(member.count).collect();
            Group {
                records: given,
                ..member.group
            }
        });
        groups.collect()
    }
}

/// Answers groups that lie one behind the other after `head`.
pub(super) fn answer(members: Vec<Member>, mut head: Sequence, repeated: bool) {
    for member in members {
        let receipt = head.advance(1).map(|first| Receipt {
            first,
            count: u32::try_from(member.count).unwrap_or(u32::MAX),
            repeated,
        });
        head = head.advance_saturating(member.count as u64);
        if let Some(answer) = member.group.answer {
            // Nobody may be waiting any more.
            drop(answer.send(receipt));
        }
    }
}
