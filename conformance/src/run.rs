//! One history, done to a store and to the model side by side.

use std::sync::Arc;

use aqevia_storage::{
    BatchNumber, BatchRecord, Epoch, Limit, Link, LogRange, Owner, Part, Payload, Reads,
    SchemaPolicy, StateRange, StorageBackend, Usage, WorldId, WorldRecord,
};
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};

use crate::contents::{WHOLE, paged_log, paged_state, paged_worlds};
use crate::history::{Attempt, Draft, DraftChange, Step, What};
use crate::model::{Model, World};
use crate::sample::{Kind, key, schema, world};
use crate::writer::persist_all;
use crate::{Harness, canonical_hash};

/// A store, a backend over it, and what both are expected to do.
pub(crate) struct Run<H> {
    harness: H,
    backend: Arc<dyn StorageBackend>,
    model: Model,
    /// Moves with every part, so that no time is given twice.
    at_ms: i64,
}

type Outcome = Result<(), TestCaseError>;

impl<H: Harness> Run<H> {
    /// Does all steps to a new store, and reads everything at the end.
    pub(crate) async fn all(steps: &[Step]) -> Outcome {
        Self::done(steps).await.map(drop)
    }

    /// The hash of a new store after all steps.
    pub(crate) async fn hash(steps: &[Step]) -> Result<blake3::Hash, TestCaseError> {
        let run = Self::done(steps).await?;
        Ok(canonical_hash(&*run.backend).await)
    }

    async fn done(steps: &[Step]) -> Result<Self, TestCaseError> {
        let harness = H::new().await;
        let mut run = Self {
            backend: harness.open().await,
            harness,
            model: Model::default(),
            at_ms: 0,
        };
        run.init().await?;
        for step in steps {
            run.step(step).await?;
        }
        run.read(WHOLE).await?;
        Ok(run)
    }

    async fn init(&self) -> Outcome {
        let info = self.backend.init(SchemaPolicy::Upgrade).await;
        prop_assert!(info.is_ok(), "`init` fails: {:?}", info);
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Persist(attempts) => self.persist(attempts).await?,
            Step::Claim { world } => self.claim(&world_id(*world)).await?,
            Step::Reopen { close } => self.reopen(*close).await?,
            Step::Read { items, bytes } => {
                let (items, bytes) = (*items, *bytes);
                self.read(Limit { items, bytes }).await?;
            }
        }
        prop_assert_eq!(&self.backend.stats(), self.model.stats(), "the counts");
        Ok(())
    }

    async fn claim(&mut self, world: &WorldId) -> Outcome {
        let epoch = self
            .model
            .world(world)
            .map_or(0, |world| world.epoch().get());
        let owner = Owner::process(u32::try_from(epoch).unwrap_or(u32::MAX));
        let schema = schema().fingerprint();
        let expected = self.model.claim(world, &owner, schema);
        let claim = self.backend.claim(world, &owner, schema).await;
        prop_assert_eq!(claim.ok(), Some(expected), "the claim of world {:?}", world);
        Ok(())
    }

    async fn reopen(&mut self, close: bool) -> Outcome {
        if close {
            let closed = self.backend.close().await;
            prop_assert!(closed.is_ok(), "`close` fails: {:?}", closed);
        }
        // Order matters: the harness may be asked for a backend once the one before is gone.
        self.backend = Arc::new(aqevia_storage::Null::new());
        self.backend = self.harness.open().await;
        self.model.reopen();
        self.init().await
    }

    async fn persist(&mut self, attempts: &[Attempt]) -> Outcome {
        let mut parts: Vec<Arc<Part>> = Vec::new();
        for attempt in attempts {
            let part = self.part(attempt);
            if parts.iter().all(|other| other.world() != part.world()) {
                parts.push(part);
            }
        }
        parts.sort_by(|a, b| a.world().cmp(b.world()));
        let expected = self.model.persist(&parts);
        let answers = persist_all(&*self.backend, &parts).await;
        for ((part, answer), expected) in parts.iter().zip(answers).zip(expected) {
            let (number, world) = (part.number(), part.world());
            let kinds = answer.as_ref().map_err(|error| error.kind()).copied();
            prop_assert_eq!(kinds, expected, "batch {} of world {:?}", number, world);
            let message = answer
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            if expected == Err(aqevia_storage::ErrorKind::Fenced) {
                let owner = self.model.world(world).and_then(World::owner);
                let named = owner.is_some_and(|owner| message.contains(owner.as_str()));
                prop_assert!(named, "{:?} does not name {:?}", message, owner);
            }
        }
        Ok(())
    }

    fn part(&mut self, attempt: &Attempt) -> Arc<Part> {
        let id = world_id(attempt.world);
        let world = self.model.world(&id);
        let written = world.map_or(&[][..], World::parts);
        let last = written.len() as u64;
        let claims = world.map_or(0, |world| world.epoch().get());
        let (epoch, number) = match attempt.what {
            What::Next => (claims.max(1), last + 1),
            What::Skip { over } => (claims.max(1), last + 1 + u64::from(over)),
            What::Unclaimed => (claims + 1, last + 1),
            What::Fenced { claims_back } => (
                claims.saturating_sub(u64::from(claims_back)).max(1),
                last + 1,
            ),
            What::Alter { back } => (claims.max(1), last.saturating_sub(u64::from(back)).max(1)),
            What::Repeat { back } => {
                let index = written.len().checked_sub(1 + usize::from(back));
                if let Some(part) = index.and_then(|index| written.get(index)) {
                    return Arc::clone(part);
                }
                (claims.max(1), last + 1)
            }
        };
        let link = written.last().map_or(Link::ORIGIN, |part| part.link());
        self.at_ms += 10;
        let records = attempt
            .records
            .iter()
            .map(|draft| record(&id, draft))
            .collect();
        let epoch = Epoch::new(epoch).expect("an epoch there is");
        let number = BatchNumber::new(number).expect("a number there is");
        let part = Part::new(id, epoch, number, self.at_ms, link, records);
        Arc::new(part.expect("a part within its limits"))
    }

    /// Reads everything in pages and through snapshots, and compares it with the model.
    async fn read(&self, limit: Limit) -> Outcome {
        let heads = paged_worlds(&*self.backend, limit).await;
        prop_assert_eq!(heads, self.model.heads(), "the worlds");
        for index in 0..3 {
            let id = world_id(index);
            self.read_world(&*self.backend, &id, limit).await?;
            self.read_usage(&id).await?;
            let snapshot = self.backend.snapshot(&id).await;
            let snapshot = snapshot.map_err(|error| TestCaseError::fail(error.to_string()))?;
            self.read_world(&*snapshot, &id, limit).await?;
        }
        Ok(())
    }

    async fn read_usage(&self, id: &WorldId) -> Outcome {
        let usage = self.backend.usage(id).await;
        let usage = usage.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let expected = Usage {
            store_bytes: usage.store_bytes,
            ..self.model.world(id).map(World::usage).unwrap_or_default()
        };
        prop_assert_eq!(usage, expected, "the usage of world {:?}", id);
        Ok(())
    }

    async fn read_world(&self, reads: &dyn Reads, id: &WorldId, limit: Limit) -> Outcome {
        let nothing = World::default();
        let world = self.model.world(id).unwrap_or(&nothing);
        let log = paged_log(reads, id, LogRange::ALL, limit).await;
        prop_assert_eq!(log, world.log(), "the log of world {:?}", id);
        let state = paged_state(reads, id, StateRange::all(), limit).await;
        prop_assert_eq!(state, world.state(), "the state of world {:?}", id);
        let page = reads.log(id, LogRange::ALL, limit).await;
        let head = page.map(|page| page.head).ok();
        prop_assert_eq!(head, Some(world.head()), "the head of world {:?}", id);
        Ok(())
    }
}

fn world_id(index: u8) -> WorldId {
    world(&format!("world {index}"))
}

fn record(world: &WorldId, draft: &Draft) -> BatchRecord {
    let kind = if draft.logged {
        Kind::Treaties
    } else {
        Kind::Fleets
    };
    let collection = kind.collection();
    let key = key(&format!("key {}", draft.key));
    let payload = match String::from_utf8(draft.payload.clone()) {
        Ok(text) => Payload::Json(text),
        Err(error) => Payload::Bytes(error.into_bytes()),
    };
    let at = draft.timestamp;
    let record = match draft.change {
        DraftChange::Put => WorldRecord::put(world, &collection, key, payload, at),
        DraftChange::Delete => WorldRecord::delete(world, &collection, key, at),
        DraftChange::Event => {
            let label = draft.logged.then_some(key);
            WorldRecord::event(world, &collection, label, payload, at)
        }
    };
    kind.batch_record(record)
}
