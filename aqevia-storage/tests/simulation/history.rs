//! What happened in a run, in order, as the engine and the store saw it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aqevia_storage::{
    Change, Collection, Entity, ErrorKind, Exposure, Key, Part, Payload, Receipt, WorldId,
    WorldRecord,
};
use tokio::sync::watch;

use crate::plan::{Draft, DraftChange, Meanwhile, SourceFault};

/// What tells records apart: their timestamp. It grows in the order in which they are given.
pub(crate) type Id = i64;

/// One thing that happened. Worlds are numbers; a lane is one opening of a world.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Opening {
        world: usize,
    },
    Opened {
        world: usize,
    },
    Adopted {
        world: usize,
        head: u64,
    },
    /// A group was accepted.
    Accepted {
        world: usize,
        lane: u32,
        records: Vec<WorldRecord>,
        ticket: Option<usize>,
    },
    /// A group was not accepted. A commit does not hand its records back.
    Refused {
        given: Vec<WorldRecord>,
        back: Option<Vec<WorldRecord>>,
        kind: ErrorKind,
        before: Exposure,
    },
    /// All that was accepted before in the openings of these worlds is to be made durable.
    Flushing {
        ticket: usize,
        lanes: Vec<Option<u32>>,
    },
    /// All that was marked before is to be made durable.
    Saving {
        ticket: usize,
    },
    Settled {
        ticket: usize,
        answer: Result<Receipt, ErrorKind>,
    },
    Marked {
        world: usize,
        lane: u32,
        entity: Entity,
    },
    /// The state source was asked, and gives these.
    Cut {
        world: usize,
        lane: u32,
        records: Vec<WorldRecord>,
    },
    /// The store was handed a part.
    Handed {
        world: usize,
        part: Arc<Part>,
    },
    /// The store wrote a part, for the first time.
    Executed {
        world: usize,
        part: Arc<Part>,
        first: u64,
    },
    /// The store answered to a part.
    Answered {
        world: usize,
        part: Arc<Part>,
        error: Option<ErrorKind>,
    },
    Initialised {
        error: Option<ErrorKind>,
    },
    /// The controller read a world.
    Looked {
        world: usize,
        head: Result<u64, ErrorKind>,
    },
    /// The controller claimed a world.
    Claimed {
        world: usize,
        error: Option<ErrorKind>,
    },
    /// The bound is looked at after each step.
    Exposed(Exposure),
    /// Nothing goes on but what waits for time to pass.
    Rested {
        healthy: bool,
    },
    /// A while after the last fault.
    Recovered {
        healthy: bool,
        exposure: Exposure,
    },
    /// What a stopped world left was taken.
    Taken {
        world: usize,
        dirty: Vec<Entity>,
        pending: Vec<WorldRecord>,
        in_doubt: Vec<WorldRecord>,
    },
    /// What shutdown answered.
    ShutDown(Option<Report>),
    /// Shutdown did not answer.
    HungAtTheEnd,
    Dropping,
    /// The controller was dropped. So many records were logged as lost since it began.
    Dropped {
        logged: usize,
    },
    /// What the store holds of a world in the end, and what the engine does.
    State {
        world: usize,
        store: States,
        engine: States,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handed { world, part } => write!(f, "Handed {world}: {}", Brief(part)),
            Self::Executed { world, part, first } => {
                write!(f, "Executed {world} from {first}: {}", Brief(part))
            }
            Self::Answered { world, part, error } => {
                write!(f, "Answered {world} {error:?}: {}", Brief(part))
            }
            other => fmt::Debug::fmt(other, f),
        }
    }
}

/// A part in a few words.
struct Brief<'a>(&'a Part);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = self.0.records().iter();
        let ids: Vec<Id> = records.map(|record| record.record().timestamp).collect();
        write!(
            f,
            "part {} of {:?} with {ids:?}",
            self.0.number(),
            self.0.epoch()
        )
    }
}

/// The payloads of keys.
pub(crate) type States = BTreeMap<(Collection, Key), Payload>;

/// What shutdown reports.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) pending: Vec<WorldRecord>,
    pub(crate) in_doubt: Vec<WorldRecord>,
    pub(crate) dirty: Vec<(WorldId, Entity)>,
}

/// The engine's memory, under one lock with the history: what is accepted, and in which order, is
/// seen by both alike.
#[derive(Debug)]
pub(crate) struct Memoir {
    pub(crate) events: Vec<Event>,
    last_id: Id,
    tickets: usize,
    pub(crate) states: Vec<States>,
    /// The openings so far; `None` while a world has not been opened.
    pub(crate) lanes: Vec<Option<u32>>,
    /// Worlds that were stopped and could not be opened again.
    pub(crate) closed: BTreeSet<usize>,
    pub(crate) meanwhile: VecDeque<(Meanwhile, bool)>,
    pub(crate) source_faults: VecDeque<SourceFault>,
}

/// The history of a run, which the engine, its state source and the store write.
#[derive(Clone, Debug)]
pub(crate) struct History {
    memoir: Arc<Mutex<Memoir>>,
    cuts: watch::Sender<()>,
}

impl History {
    pub(crate) fn new(worlds: usize) -> Self {
        let memoir = Memoir {
            events: Vec::new(),
            last_id: 0,
            tickets: 0,
            states: vec![States::new(); worlds],
            lanes: vec![None; worlds],
            closed: BTreeSet::new(),
            meanwhile: VecDeque::new(),
            source_faults: VecDeque::new(),
        };
        Self {
            memoir: Arc::new(Mutex::new(memoir)),
            cuts: watch::Sender::new(()),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Memoir> {
        self.memoir.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note_flush(&self, ticket: usize) {
        let mut memoir = self.lock();
        let mut lanes = memoir.lanes.clone();
        for world in &memoir.closed {
            if let Some(lane) = lanes.get_mut(*world) {
                *lane = None;
            }
        }
        memoir.events.push(Event::Flushing { ticket, lanes });
    }

    /// A capture has made its cut.
    pub(crate) fn tell_of_cut(&self) {
        self.cuts.send_replace(());
    }

    /// Waits for the next cut of a capture.
    pub(crate) async fn cut(&self) {
        let mut cuts = self.cuts.subscribe();
        // The sender is this history's own.
        drop(cuts.changed().await);
    }

    pub(crate) fn note(&self, event: Event) {
        self.lock().events.push(event);
    }
}

impl Memoir {
    pub(crate) fn next_id(&mut self) -> Id {
        self.last_id += 1;
        self.last_id
    }

    pub(crate) fn next_ticket(&mut self) -> usize {
        self.tickets += 1;
        self.tickets
    }

    /// The record of a draft.
    pub(crate) fn record(&mut self, world: usize, draft: &Draft) -> WorldRecord {
        let id = self.next_id();
        let collection = if draft.logged { moves() } else { ships() };
        let padding = " ".repeat(draft.padding.into());
        let mark = if draft.refused { REFUSED } else { "" };
        let payload = Payload::Json(format!("\"{mark}{id}{padding}\""));
        let key = key(draft.key);
        let change = match draft.change {
            DraftChange::Put => Change::Put { key, payload },
            DraftChange::Delete => Change::Delete { key },
            DraftChange::Event => Change::Event {
                key: Some(key),
                payload,
            },
        };
        WorldRecord::of(&name(world), &collection, change, id)
    }

    /// Changes the engine's state as a record says.
    pub(crate) fn apply(&mut self, world: usize, record: &WorldRecord) {
        let Some(states) = self.states.get_mut(world) else {
            return;
        };
        let collection = record.collection.clone();
        match &record.change {
            Change::Put { key, payload } => {
                states.insert((collection, key.clone()), payload.clone());
            }
            Change::Delete { key } => {
                states.remove(&(collection, key.clone()));
            }
            _ => {}
        }
    }
}

/// What the payload of a record begins with that the store refuses.
pub(crate) const REFUSED: &str = "refused ";

/// Whether the store refuses a record.
pub(crate) fn is_refused(record: &WorldRecord) -> bool {
    let text =
        |payload: &Payload| payload.as_bytes().get(1..=REFUSED.len()) == Some(REFUSED.as_bytes());
    record.collection != Collection::dead_letters() && record.payload().is_some_and(text)
}

/// The name of a world.
pub(crate) fn name(world: usize) -> WorldId {
    WorldId::new(format!("world-{world}")).unwrap()
}

/// The number of a world.
pub(crate) fn number(world: &WorldId) -> usize {
    let number = world.as_str().strip_prefix("world-");
    number.and_then(|number| number.parse().ok()).unwrap()
}

/// The collection of states, whose history is `Latest`.
pub(crate) fn ships() -> Collection {
    Collection::new("ships").unwrap()
}

/// The collection whose history is `All`.
pub(crate) fn moves() -> Collection {
    Collection::new("moves").unwrap()
}

pub(crate) fn key(key: u8) -> Key {
    Key::new(format!("k{key}")).unwrap()
}
