//! What a history comes to: the model that the clauses are checked against.

use std::collections::{BTreeMap, BTreeSet};

use aqevia_storage::{Change, Collection, Entity, ErrorKind, Key, Receipt, WorldRecord};

use crate::history::{Event, Id, Report, is_refused, ships};
use crate::plan::{Plan, Settings};

/// A moment: the place of an event in the history.
pub(crate) type At = usize;

/// A history, read.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) events: &'a [Event],
    pub(crate) groups: Vec<Group<'a>>,
    pub(crate) records: BTreeMap<Id, Fact<'a>>,
    pub(crate) settled: BTreeMap<usize, (At, Result<Receipt, ErrorKind>)>,
    pub(crate) shut_down: Option<(At, Option<&'a Report>)>,
    stopped: BTreeSet<usize>,
}

/// Records that were accepted together, or captured together.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    pub(crate) world: usize,
    pub(crate) lane: u32,
    pub(crate) at: At,
    pub(crate) records: &'a [WorldRecord],
    pub(crate) ticket: Option<usize>,
    pub(crate) captured: bool,
}

impl Group<'_> {
    /// Whether the store refuses it.
    pub(crate) fn is_refused(&self) -> bool {
        self.records.iter().any(is_refused)
    }
}

/// What became of a record.
#[derive(Debug)]
pub(crate) struct Fact<'a> {
    pub(crate) group: usize,
    pub(crate) record: &'a WorldRecord,
    /// When it was written, and under which sequence.
    pub(crate) executed: Vec<(At, u64)>,
    /// When a dead letter was written for it.
    pub(crate) letters: Vec<At>,
    /// When a part with it was first handed to the store.
    pub(crate) handed: Option<At>,
    pub(crate) reported: Vec<Reported>,
    /// The record that may have taken its place.
    pub(crate) newer: Option<Id>,
}

/// In which list a record was handed back, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reported {
    pub(crate) at: At,
    pub(crate) in_doubt: bool,
}

/// How it ended with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Executed(At, u64),
    Letter(At),
    /// Its ticket was told that the store refuses it.
    Refused,
    HandedBack,
    Lost,
}

impl<'a> Facts<'a> {
    pub(crate) fn read(plan: &'a Plan, events: &'a [Event]) -> Self {
        let mut facts = Self {
            plan,
            events,
            groups: Vec::new(),
            records: BTreeMap::new(),
            settled: BTreeMap::new(),
            shut_down: None,
            stopped: BTreeSet::new(),
        };
        for (at, event) in events.iter().enumerate() {
            facts.read_engine(at, event);
        }
        for (at, event) in events.iter().enumerate() {
            facts.read_store(at, event);
        }
        if plan.settings.coalescing {
            facts.find_newer();
        }
        facts
    }

    fn read_engine(&mut self, at: At, event: &'a Event) {
        let (world, lane, records, ticket, captured) = match event {
            Event::Accepted {
                world,
                lane,
                records,
                ticket,
            } => (*world, *lane, records, *ticket, false),
            Event::Cut {
                world,
                lane,
                records,
            } => (*world, *lane, records, None, true),
            _ => return,
        };
        for record in records {
            let fact = Fact {
                group: self.groups.len(),
                record,
                executed: Vec::new(),
                letters: Vec::new(),
                handed: None,
                reported: Vec::new(),
                newer: None,
            };
            self.records.insert(record.timestamp, fact);
        }
        if lane > 0 {
            self.stopped.insert(world);
        }
        self.groups.push(Group {
            world,
            lane,
            at,
            records,
            ticket,
            captured,
        });
    }

    fn read_store(&mut self, at: At, event: &'a Event) {
        match event {
            Event::Handed { part, .. } => {
                for record in part.records() {
                    if let Some(fact) = self.records.get_mut(&record.record().timestamp) {
                        fact.handed.get_or_insert(at);
                    }
                }
            }
            Event::Executed { part, first, .. } => {
                for (sequence, record) in (*first..).zip(part.records()) {
                    let record = record.record();
                    let Some(fact) = self.records.get_mut(&record.timestamp) else {
                        continue;
                    };
                    match record.collection == Collection::dead_letters() {
                        true => fact.letters.push(at),
                        false => fact.executed.push((at, sequence)),
                    }
                }
            }
            Event::Answered {
                world,
                error: Some(ErrorKind::Fenced),
                ..
            } => drop(self.stopped.insert(*world)),
            // An adopted world does not stand where the engine believes.
            Event::Looked {
                world,
                head: Ok(head),
            } if *head > 0 => drop(self.stopped.insert(*world)),
            Event::Settled { ticket, answer } => {
                self.settled.insert(*ticket, (at, *answer));
            }
            Event::Taken {
                pending, in_doubt, ..
            } => self.hand_back(at, pending, in_doubt),
            Event::ShutDown(report) => {
                self.shut_down = Some((at, report.as_ref()));
                if let Some(report) = report {
                    self.hand_back(at, &report.pending, &report.in_doubt);
                }
            }
            _ => {}
        }
    }

    fn hand_back(&mut self, at: At, pending: &[WorldRecord], in_doubt: &[WorldRecord]) {
        let pending = pending.iter().map(|record| (record, false));
        let in_doubt = in_doubt.iter().map(|record| (record, true));
        for (record, in_doubt) in pending.chain(in_doubt) {
            if let Some(fact) = self.records.get_mut(&record.timestamp) {
                fact.reported.push(Reported { at, in_doubt });
            }
        }
    }

    /// Finds which record may take the place of which: a single one that nobody waits for, that of
    /// the newest single one of its key, unless a group of several records or a cut is between.
    fn find_newer(&mut self) {
        let mut places: BTreeMap<_, BTreeMap<(&Collection, &Key), Id>> = BTreeMap::new();
        for group in &self.groups {
            let places = places.entry((group.world, group.lane)).or_default();
            if group.captured {
                places.clear();
                continue;
            }
            let [record] = group.records else {
                for record in group.records {
                    if let Some(key) = record.key() {
                        places.remove(&(&record.collection, key));
                    }
                }
                continue;
            };
            if !moves_only_state(record) {
                continue;
            }
            let Some(key) = record.key() else { continue };
            let older = places.insert((&record.collection, key), record.timestamp);
            let older = older.filter(|_| group.ticket.is_none());
            if let Some(fact) = older.and_then(|older| self.records.get_mut(&older)) {
                fact.newer = Some(record.timestamp);
            }
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.plan.settings
    }

    pub(crate) fn group(&self, fact: &Fact<'_>) -> Option<&Group<'a>> {
        self.groups.get(fact.group)
    }

    /// What was accepted, with its group.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = (Id, &Fact<'a>, &Group<'a>)> {
        let all = self.records.iter();
        let all = all.filter_map(|(id, fact)| Some((*id, fact, self.group(fact)?)));
        all.filter(|(.., group)| !group.captured)
    }

    /// What became of this very record.
    pub(crate) fn own_fate(&self, fact: &Fact<'_>) -> Fate {
        if let Some((at, sequence)) = fact.executed.first() {
            return Fate::Executed(*at, *sequence);
        }
        if let Some(at) = fact.letters.first() {
            return Fate::Letter(*at);
        }
        if !fact.reported.is_empty() {
            return Fate::HandedBack;
        }
        let group = self.group(fact).filter(|group| group.is_refused());
        let answer = group.and_then(|group| self.settled.get(&group.ticket?));
        match answer {
            Some((_, Err(ErrorKind::Invalid))) => Fate::Refused,
            _ => Fate::Lost,
        }
    }

    /// What became of a record, or of the one that took its place.
    pub(crate) fn fate(&self, id: Id) -> Fate {
        let mut next = self.records.get(&id);
        while let Some(fact) = next {
            let fate = self.own_fate(fact);
            if fate != Fate::Lost {
                return fate;
            }
            next = fact.newer.and_then(|newer| self.records.get(&newer));
        }
        Fate::Lost
    }

    /// Whether the controller was dropped, so that nobody hears what is left.
    pub(crate) fn was_dropped(&self) -> bool {
        self.events
            .iter()
            .any(|event| matches!(event, Event::Dropped { .. }))
    }

    /// The oldest record whose place each one took, which may be its own.
    pub(crate) fn places(&self) -> BTreeMap<Id, Id> {
        let mut places: BTreeMap<Id, Id> = self.records.keys().map(|id| (*id, *id)).collect();
        for (id, fact) in &self.records {
            let lost = match self.own_fate(fact) {
                Fate::Lost => true,
                // Its ticket was told what became of the one in its place.
                Fate::Refused => fact.handed.is_none(),
                _ => false,
            };
            let (place, newer) = (places.get(id).copied(), fact.newer.filter(|_| lost));
            if let Some((place, newer)) = place.zip(newer) {
                places.insert(newer, place);
            }
        }
        places
    }

    /// Whether a world was stopped or had to be opened again, so that it need not hold all.
    pub(crate) fn was_stopped(&self, world: usize) -> bool {
        self.stopped.contains(&world)
    }

    /// The entities of a world that were marked and whose state came to nothing since.
    pub(crate) fn dirty(&self, world: usize) -> Vec<(u32, Entity)> {
        let mut marked: BTreeMap<(u32, &Entity), At> = BTreeMap::new();
        for (at, event) in self.events.iter().enumerate() {
            match event {
                Event::Marked {
                    world: of,
                    lane,
                    entity,
                } if *of == world => {
                    marked.insert((*lane, entity), at);
                }
                // It was told of already.
                Event::Taken {
                    world: of, dirty, ..
                } if *of == world => {
                    marked.retain(|(_, entity), _| !dirty.contains(entity));
                }
                _ => {}
            }
        }
        let dirty = marked.into_iter().filter(|((lane, entity), at)| {
            let captured = self.groups.iter().filter(|group| {
                group.captured && (group.world, group.lane) == (world, *lane) && group.at > *at
            });
            let mut records = captured.flat_map(|group| group.records);
            !records.any(|record| {
                record.key() == Some(&entity.key) && self.fate(record.timestamp) != Fate::Lost
            })
        });
        dirty
            .map(|((lane, entity), _)| (lane, entity.clone()))
            .collect()
    }
}

/// Whether a record leaves no trace but the state of its key.
fn moves_only_state(record: &WorldRecord) -> bool {
    let keyed = matches!(record.change, Change::Put { .. } | Change::Delete { .. });
    keyed && record.collection == ships()
}
