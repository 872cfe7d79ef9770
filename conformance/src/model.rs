//! What a correct store holds and answers, in plain collections.
//!
//! A world is who claimed it and which parts were written; everything else is derived from that
//! when it is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use aqevia_storage::{
    BatchNumber, Change, Claim, Collection, Epoch, ErrorKind, Fingerprint, Key, LogRow, Owner,
    Part, Payload, Receipt, Sequence, StateRow, StorageStats, Usage, WorldHead, WorldId,
    WorldRecord,
};

/// A store.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// The worlds that were claimed.
    worlds: BTreeMap<WorldId, World>,
    /// What the backend that is open counts.
    stats: StorageStats,
}

/// A world.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// Who claimed it; the epoch of each is its position, from 1.
    claims: Vec<(Owner, Fingerprint)>,
    /// What was written; the number of each is its position, from 1.
    parts: Vec<Arc<Part>>,
}

/// What is answered to a part.
pub(crate) type Answer = Result<Receipt, ErrorKind>;

impl Model {
    /// The world, if it was claimed.
    pub(crate) fn world(&self, id: &WorldId) -> Option<&World> {
        self.worlds.get(id)
    }

    /// The worlds that were claimed, in byte order.
    pub(crate) fn heads(&self) -> Vec<WorldHead> {
        let worlds = self.worlds.iter();
        worlds.filter_map(|(id, world)| world.listed(id)).collect()
    }

    /// What the backend counts that was opened last.
    pub(crate) const fn stats(&self) -> &StorageStats {
        &self.stats
    }

    /// Another backend is opened.
    pub(crate) fn reopen(&mut self) {
        self.stats = StorageStats::default();
    }

    /// Somebody claims a world.
    pub(crate) fn claim(&mut self, id: &WorldId, owner: &Owner, schema: Fingerprint) -> Claim {
        let world = self.worlds.entry(id.clone()).or_default();
        let before = world.claims.last().map(|(_, schema)| *schema);
        world.claims.push((owner.clone(), schema));
        let mut claim = Claim::first();
        claim.epoch = world.epoch();
        claim.schema = before;
        claim.head = world.head();
        claim.last_number = world.last_number();
        if let Some(part) = world.parts.last() {
            claim.last_at_ms = part.at_ms();
            claim.link = part.link();
        }
        claim
    }

    /// Somebody persists a batch.
    pub(crate) fn persist(&mut self, parts: &[Arc<Part>]) -> Vec<Answer> {
        let flushed = self.stats.records;
        let answers = parts.iter().map(|part| self.persist_part(part)).collect();
        self.stats.flush_count += u64::from(self.stats.records > flushed);
        answers
    }

    fn persist_part(&mut self, part: &Arc<Part>) -> Answer {
        let answer = match self.worlds.get_mut(part.world()) {
            Some(world) => world.persist(part),
            None => Err(ErrorKind::Invalid),
        };
        match answer {
            Err(kind) => self.stats.errors.add(kind),
            Ok(receipt) if receipt.repeated || receipt.count == 0 => {}
            Ok(receipt) => {
                self.stats.records += u64::from(receipt.count);
                self.stats.bytes += part.bytes() as u64;
                let newest = self.stats.last_flush_at_ms.max(Some(part.at_ms()));
                self.stats.last_flush_at_ms = newest;
            }
        }
        answer
    }
}

impl World {
    fn persist(&mut self, part: &Arc<Part>) -> Answer {
        if let Some(index) = self.parts.iter().position(|held| is_same(held, part)) {
            return Ok(Receipt::repeated(self.first_of(index), part.count()));
        }
        if part.epoch() < self.epoch() {
            return Err(ErrorKind::Fenced);
        }
        if part.epoch() > self.epoch() {
            return Err(ErrorKind::Invalid);
        }
        let next = self.parts.len();
        if part.records().is_empty() {
            return Ok(Receipt::written(self.first_of(next), 0));
        }
        if part.number().get() != next as u64 + 1 {
            return Err(ErrorKind::Invalid);
        }
        self.parts.push(Arc::clone(part));
        Ok(Receipt::written(self.first_of(next), part.count()))
    }

    /// The epoch of the last claim.
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch::new(self.claims.len() as u64).expect("an epoch there is")
    }

    /// The number of the last part.
    pub(crate) fn last_number(&self) -> BatchNumber {
        BatchNumber::new(self.parts.len() as u64).expect("a number there is")
    }

    /// The parts that were written.
    pub(crate) fn parts(&self) -> &[Arc<Part>] {
        &self.parts
    }

    /// The owner of the last claim.
    pub(crate) fn owner(&self) -> Option<&Owner> {
        self.claims.last().map(|(owner, _)| owner)
    }

    /// The last sequence.
    pub(crate) fn head(&self) -> Sequence {
        let next = self.first_of(self.parts.len()).get();
        Sequence::new(next - 1).expect("a sequence there is")
    }

    /// The first sequence of a part that was written, or of the next one.
    fn first_of(&self, index: usize) -> Sequence {
        let before = self.parts.iter().take(index);
        let taken: u64 = before.map(|part| u64::from(part.count())).sum();
        Sequence::new(taken + 1).expect("a sequence there is")
    }

    /// Each record that was written, with its sequence and whether it is logged.
    fn records(&self) -> impl Iterator<Item = (Sequence, &WorldRecord, bool)> {
        let records = self.parts.iter().flat_map(|part| part.records());
        (1..).zip(records).map(|(at, record)| {
            let sequence = Sequence::new(at).expect("a sequence there is");
            (sequence, record.record(), record.is_logged())
        })
    }

    /// The log.
    pub(crate) fn log(&self) -> Vec<LogRow> {
        let logged = self.records().filter(|(_, _, logged)| *logged);
        logged
            .map(|(sequence, record, _)| LogRow::new(sequence, record.clone()))
            .collect()
    }

    /// The state.
    pub(crate) fn state(&self) -> Vec<StateRow> {
        let mut state: BTreeMap<(Collection, Key), StateRow> = BTreeMap::new();
        for (sequence, record, _) in self.records() {
            let (collection, at) = (record.collection.clone(), record.timestamp);
            match &record.change {
                Change::Put { key, payload } => {
                    let slot = (collection.clone(), key.clone());
                    let first = state.get(&slot).map_or(at, |row| row.first_timestamp);
                    let payload = payload.clone();
                    let mut row = StateRow::new(collection, key.clone(), payload, sequence, at);
                    row.first_timestamp = first;
                    state.insert(slot, row);
                }
                Change::Delete { key } => {
                    state.remove(&(collection, key.clone()));
                }
                _ => {}
            }
        }
        state.into_values().collect()
    }

    /// What the world holds, counted.
    pub(crate) fn usage(&self) -> Usage {
        let (log, state) = (self.log(), self.state());
        let bytes = |payload: &Payload| payload.as_bytes().len() as u64;
        let logged = log.iter().filter_map(|row| row.record.payload());
        Usage {
            log_records: log.len() as u64,
            log_bytes: logged.map(bytes).sum(),
            state_keys: state.len() as u64,
            state_bytes: state.iter().map(|row| bytes(&row.payload)).sum(),
            parts: self.parts.len() as u64,
            store_bytes: 0,
        }
    }

    fn listed(&self, id: &WorldId) -> Option<WorldHead> {
        let mut head = WorldHead::claimed(id.clone(), self.owner()?.clone());
        head.epoch = self.epoch();
        head.head = self.head();
        head.last_number = self.last_number();
        head.last_at_ms = self.parts.last().map_or(0, |part| part.at_ms());
        Some(head)
    }
}

/// Whether two parts are one to a store: same epoch, number and records.
fn is_same(held: &Part, part: &Part) -> bool {
    (held.epoch(), held.number()) == (part.epoch(), part.number())
        && held.records() == part.records()
}
