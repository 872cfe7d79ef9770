//! The records of one call, as they go from the engine to the store.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::shared::WorldShared;
use crate::{Receipt, Result, WorldRecord};

/// The records of one call, which stay together (clause C4).
#[derive(Debug)]
pub(super) struct Group {
    pub(super) world: Arc<WorldShared>,
    /// No records: a mark that is passed when everything before it is durable.
    pub(super) records: Vec<WorldRecord>,
    pub(super) bytes: usize,
    pub(super) answer: Option<Answer>,
    pub(super) urgency: Urgency,
    pub(super) accepted_at: Instant,
    /// Whether it shares a part with the group behind it (clause C9).
    pub(super) joined: bool,
    pub(super) kind: Kind,
}

/// Where the receipt of a group goes.
pub(super) type Answer = oneshot::Sender<Result<Receipt>>;

/// Where a group comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The engine.
    Given,
    /// The engine, in the place of an older record: who waits for the group gave that one.
    Replaced,
    /// A capture of dirty entities.
    Captured,
    /// It stands for a record that the store refused.
    DeadLetter,
}

impl Group {
    pub(super) const fn size(&self) -> Pending {
        Pending {
            records: self.records.len(),
            bytes: self.bytes,
            marks: self.records.is_empty() as usize,
        }
    }

    /// The records as a group each, of which the last has the answer.
    pub(super) fn apart(self) -> Vec<Self> {
        let groups = self.records.into_iter().map(|record| Self {
            world: Arc::clone(&self.world),
            bytes: record.bytes(),
            records: vec![record],
            answer: None,
            ..self
        });
        let mut groups: Vec<_> = groups.collect();
        if let Some(last) = groups.last_mut() {
            last.answer = self.answer;
        }
        groups
    }
}

/// Whether a group starts a flush by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    Deferred,
    Now,
}

/// How much is accepted and not settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) records: usize,
    pub(super) bytes: usize,
    /// Groups without records.
    pub(super) marks: usize,
}

impl Pending {
    pub(super) const fn add(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.marks += other.marks;
    }

    pub(super) const fn remove(&mut self, other: Self) {
        self.records = self.records.saturating_sub(other.records);
        self.bytes = self.bytes.saturating_sub(other.bytes);
        self.marks = self.marks.saturating_sub(other.marks);
    }
}
