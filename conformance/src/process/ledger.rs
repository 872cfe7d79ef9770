//! What a store has to hold after its writers were killed.

use std::collections::BTreeMap;
use std::sync::Arc;

use aqevia_storage::{Claim, Epoch, ErrorKind, Link, Part, Receipt, WorldId};

use super::Verdict;
use super::line::Line;
use super::plan::{Stand, owner, records};
use super::tally::Acknowledged;
use super::within::Cut;
use crate::model::Model;
use crate::sample::{schema, world};

/// What the writers of a store told, and what follows from that.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(super) seed: u64,
    pub(super) model: Model,
    /// How many claims of a world were begun and not acknowledged.
    pub(super) claims: BTreeMap<WorldId, u64>,
    /// The parts that were begun and not acknowledged: the last of each world, and who began it.
    pub(super) begun: BTreeMap<WorldId, (u64, Arc<Part>)>,
    /// What kills cut off.
    pub(crate) cut: Cut,
    /// The parts with records that were acknowledged.
    pub(super) acknowledged: Vec<Acknowledged>,
}

impl Ledger {
    pub(super) fn of_seed(seed: u64) -> Self {
        Self {
            seed,
            model: Model::default(),
            claims: BTreeMap::new(),
            begun: BTreeMap::new(),
            cut: Cut::default(),
            acknowledged: Vec::new(),
        }
    }

    /// Takes down what a writer tells; `run` is the one that it is started for.
    pub(super) fn take_down(&mut self, run: u64, line: &Line) -> Verdict {
        match line {
            Line::Claiming { world: name } => {
                *self.claims.entry(world(name)).or_default() += 1;
            }
            Line::Claimed {
                world: name,
                epoch,
                number,
                head,
                link,
            } => {
                let id = world(name);
                self.settle(&id, *epoch, *number, 1)?;
                self.check_claim(&id, *head, link)?;
            }
            Line::Persisting { call } => {
                for (world, records) in records(self.seed, run, *call) {
                    let part = self.stand(&world).part(records);
                    self.begun.insert(world, (run, part));
                }
            }
            Line::Acknowledged { .. } => self.acknowledge(line)?,
            _ => {}
        }
        Ok(())
    }

    /// Whether a part with records was begun and not acknowledged.
    pub(super) fn has_begun(&self) -> bool {
        let mut begun = self.begun.values();
        begun.any(|(_, part)| part.count() > 0)
    }

    fn acknowledge(&mut self, line: &Line) -> Verdict {
        let Line::Acknowledged {
            world: name,
            number,
            first,
            count,
            digest,
        } = line
        else {
            return Ok(());
        };
        let part = self.begun.remove(&world(name));
        let (_, part) =
            part.ok_or_else(|| format!("a child acknowledges twice in world {name:?}"))?;
        let told = (*number, *count, digest.clone());
        let made = (part.number().get(), part.count(), text(part.digest()));
        if told != made {
            return Err(format!(
                "a child persists {told:?}, and was to persist {made:?}"
            ));
        }
        let receipt = self.expect(&part)?;
        if receipt.repeated || receipt.first.get() != *first {
            return Err(format!(
                "P3: part {number} of world {name:?} got sequence {first}, and {receipt:?} follows"
            ));
        }
        if *count > 0 {
            self.acknowledged.push((part, receipt.first));
        }
        Ok(())
    }

    /// What the model answers to a part, which it takes in.
    fn expect(&mut self, part: &Arc<Part>) -> Verdict<Receipt> {
        let (number, world) = (part.number(), part.world());
        let answer = self.model.persist(std::slice::from_ref(part)).pop();
        let answer = answer.unwrap_or(Err(ErrorKind::Invalid));
        answer.map_err(|kind| {
            format!("P6: part {number} of world {world:?} is in the store, and has to be {kind:?}")
        })
    }

    /// Takes down where a world stands in the store: what was begun has been done or not.
    ///
    /// `raised` is by how much the epoch has to have moved at least since it was last known.
    pub(super) fn settle(&mut self, id: &WorldId, epoch: u64, number: u64, raised: u64) -> Verdict {
        let known = self.stand(id).claim.epoch.get();
        let begun = self.claims.get(id).copied().unwrap_or(0);
        if !(known + raised..=known + begun).contains(&epoch) {
            return Err(format!(
                "P6: world {id:?} is at epoch {epoch}; it was claimed {known} times, and {begun} \
                 claims more were begun"
            ));
        }
        // A server may still be at work on those that have not been done.
        let left = begun - (epoch - known);
        self.claims.insert(id.clone(), left);
        // Order matters: a part that was begun is older than the claims.
        self.settle_part(id, number)?;
        for _ in known..epoch {
            self.model.claim(id, &owner(), schema().fingerprint());
        }
        Ok(())
    }

    fn settle_part(&mut self, id: &WorldId, number: u64) -> Verdict {
        let last = self.stand(id).claim.last_number.get();
        if number < last {
            let lost = last - number;
            return Err(format!(
                "P2: {lost} acknowledged parts of world {id:?} are lost: the last is {number}, and \
                 {last} was acknowledged"
            ));
        }
        let begun = self.begun.get(id).cloned();
        match begun.filter(|(_, part)| number == last + 1 && part.number().get() == number) {
            Some((run, part)) => {
                self.cut.store(run);
                self.expect(&part).map(drop)
            }
            None if number > last => Err(format!(
                "P5: the last part of world {id:?} is {number}, and only {last} were persisted"
            )),
            None => Ok(()),
        }
    }

    pub(super) fn check_claim(&self, id: &WorldId, head: u64, link: &str) -> Verdict {
        let claim = self.stand(id).claim;
        if claim.head.get() != head {
            return Err(format!(
                "P1: a claim of world {id:?} finds head {head}, and its parts end at {}",
                claim.head
            ));
        }
        if text(&claim.link) != link {
            return Err(format!(
                "P7: a claim of world {id:?} finds {link}, and its parts end with {:?}",
                claim.link
            ));
        }
        Ok(())
    }

    /// Where the writer of a world stands.
    pub(super) fn stand(&self, id: &WorldId) -> Stand {
        let mut claim = Claim::first();
        claim.epoch = Epoch::ZERO;
        if let Some(world) = self.model.world(id) {
            claim.epoch = world.epoch();
            claim.head = world.head();
            claim.last_number = world.last_number();
            let last = world.parts().last();
            claim.last_at_ms = last.map_or(0, |part| part.at_ms());
            claim.link = last.map_or(Link::ORIGIN, |part| part.link());
        }
        let world = id.clone();
        Stand { world, claim }
    }
}

/// A hash as children tell it.
pub(crate) fn text(hash: &impl std::fmt::Debug) -> String {
    format!("{hash:?}")
}
