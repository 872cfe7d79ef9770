//! What becomes of a part that the store refuses (clause C5).

use super::super::dead_letter::dead_letters;
use super::super::group::{Group, Kind};
use super::super::inbox::Inbox;
use super::{Lane, Settled};
use crate::Error;

impl Lane {
    /// The store refuses the part. Half of its units are tried next, until what it refuses is found.
    pub(super) fn refused(&mut self, error: &Error, inbox: &Inbox) -> Settled {
        let Some(in_flight) = self.in_flight.take() else {
            return Settled::Retrying;
        };
        self.release();
        let (units, groups) = units(in_flight.into_groups());
        if units > 1 {
            self.units_max = units / 2;
            self.put_back(groups);
            return Settled::Refused(0);
        }
        self.units_max = usize::MAX;
        if groups.iter().all(|group| group.kind != Kind::DeadLetter) {
            return self.give_up(groups, error, inbox);
        }
        self.put_back(groups);
        let error = error.clone().context("not even a dead letter is taken");
        self.stop(&error, inbox);
        Settled::Stopped
    }

    /// Answers groups that the store refuses. Dead letters stand for those that nobody waits for.
    fn give_up(&mut self, groups: Vec<Group>, error: &Error, inbox: &Inbox) -> Settled {
        let mut letters = Vec::new();
        let mut count = 0;
        for group in groups {
            inbox.settle(group.size());
            let answer = group.answer.filter(|answer| !answer.is_closed());
            // Who waits for what was captured, or for an older record, has not given this one.
            if answer.is_none() || group.kind != Kind::Given {
                count += group.records.len() as u64;
                letters.extend(dead_letters(&self.world, group.records, error, inbox));
            }
            if group.kind == Kind::Captured {
                self.saving.refused(error);
                self.end_capture();
            }
            if let Some(answer) = answer {
                // Whoever waited may have gone this very moment.
                drop(answer.send(Err(error.clone())));
            }
        }
        tracing::error!(
            target: "aqevia_storage::controller",
            world = %self.world.id(),
            dead_letters = count,
            %error,
            "the store refuses a group"
        );
        self.put_back(letters);
        Settled::Refused(count)
    }

    /// Puts groups before all that wait: what is being captured comes behind them too.
    fn put_back(&mut self, groups: Vec<Group>) {
        self.saving.put_back(groups.len());
        self.waiting.put_back(groups.into_iter());
    }
}

/// How many units there are to look for the refused one among. Where there is but one, what a
/// capture joined or gave as one is taken apart.
fn units(mut groups: Vec<Group>) -> (usize, Vec<Group>) {
    let joined = groups.iter().filter(|group| group.joined).count();
    if joined + 1 < groups.len() {
        return (groups.len() - joined, groups);
    }
    groups.iter_mut().for_each(|group| group.joined = false);
    if groups.len() == 1 && groups.iter().all(|group| group.kind == Kind::Captured) {
        groups = groups.into_iter().flat_map(Group::apart).collect();
    }
    (groups.len(), groups)
}
