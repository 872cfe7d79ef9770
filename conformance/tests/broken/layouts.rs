//! Defects in what `init` makes of other layouts: a store in memory behind a stamp.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

use aqevia_storage::{
    Batch, BatchNumber, BatchRecord, Capabilities, Durability, Error, ErrorKind, History, Memory,
    Owner, Part, Payload, Result, Schema, SchemaPolicy, StorageBackend, StoreInfo, WorldId,
    WorldRecord,
};
use async_trait::async_trait;
use conformance::{FirstRow, Scene, render};

use super::store::Store;
use super::{Broken, Defect};

/// What is done wrongly with a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Nothing,
    NewerIsTaken,
    NewerIsMarked,
    LastRowIsLost,
    FailureLeavesRows,
    ResetKeepsNewer,
    ResetTouchesPresent,
    ResetTakesForeign,
    RowsAreOrderedByTime,
}

/// A type for each wrong, since a store makes itself.
pub(crate) trait Migration: Send + Sync + 'static {
    const WRONG: Wrong;
}

macro_rules! migrations {
    ($($name:ident),* $(,)?) => {$(
        pub(crate) struct $name;

        impl Migration for $name {
            const WRONG: Wrong = Wrong::$name;
        }
    )*};
}

migrations!(
    Nothing,
    NewerIsTaken,
    NewerIsMarked,
    LastRowIsLost,
    FailureLeavesRows,
    ResetKeepsNewer,
    ResetTouchesPresent,
    ResetTakesForeign,
    RowsAreOrderedByTime,
);

/// What the medium says it holds.
#[derive(Clone, Debug)]
enum Stamp {
    Present,
    Newer,
    First(Vec<FirstRow>),
    Foreign,
    Spoilt,
}

/// A store with a stamp.
pub(crate) struct LayoutStore<M> {
    memory: Memory,
    stamp: Arc<Mutex<Stamp>>,
    migration: PhantomData<M>,
}

impl<M: Migration> Default for LayoutStore<M> {
    fn default() -> Self {
        Self {
            memory: Memory::new(),
            stamp: Arc::new(Mutex::new(Stamp::Present)),
            migration: PhantomData,
        }
    }
}

#[async_trait]
impl<M: Migration> Store for LayoutStore<M> {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durability: Durability::Process,
            shared: true,
            snapshot: true,
        }
    }

    async fn open(&self) -> Arc<dyn StorageBackend> {
        let defect = Stamped {
            stamp: Arc::clone(&self.stamp),
            wrong: M::WRONG,
        };
        let memory = self.memory.reopen();
        Arc::new(Broken { memory, defect })
    }

    fn first_layout(&self) -> bool {
        true
    }

    async fn stage(&self, scene: Scene) {
        *self.stamp.lock().unwrap() = match scene {
            Scene::NewerLayout => Stamp::Newer,
            Scene::FirstLayout(rows) => Stamp::First(rows),
            Scene::Foreign => Stamp::Foreign,
        };
    }

    async fn dump(&self) -> Vec<u8> {
        let backend = self.memory.reopen();
        backend.init(SchemaPolicy::Upgrade).await.expect("`init`");
        let stamp = format!("{:?}", self.stamp.lock().unwrap()).into_bytes();
        [stamp, render(&backend).await].concat()
    }
}

/// Looks at the stamp before it opens the store.
pub(crate) struct Stamped {
    stamp: Arc<Mutex<Stamp>>,
    wrong: Wrong,
}

#[async_trait]
impl Defect for Stamped {
    async fn init(&self, memory: &Memory, policy: SchemaPolicy) -> Result<StoreInfo> {
        let reset = policy == SchemaPolicy::ResetInDevelopment;
        let stamp = self.stamp.lock().unwrap().clone();
        let rows = self.admit(stamp, reset)?;
        // The medium, opened beside the backend: what fails leaves the backend uninitialised.
        let medium = memory.reopen();
        let mut info = medium.init(policy).await?;
        self.keep(&medium, rows).await?;
        memory.init(policy).await?;
        *self.stamp.lock().unwrap() = Stamp::Present;
        info.capabilities.durability = Durability::Process;
        Ok(info)
    }
}

impl Stamped {
    /// The rows to keep of a store with this stamp, or why it is refused.
    fn admit(&self, stamp: Stamp, reset: bool) -> Result<Vec<Row>> {
        match (stamp, self.wrong) {
            (Stamp::Newer, Wrong::NewerIsMarked) if !reset => {
                *self.stamp.lock().unwrap() = Stamp::Spoilt;
                Err(incompatible())
            }
            (Stamp::Newer, Wrong::ResetKeepsNewer) => Err(incompatible()),
            (Stamp::Newer, wrong) if reset || wrong == Wrong::NewerIsTaken => Ok(Vec::new()),
            (Stamp::Foreign, Wrong::ResetTakesForeign) if reset => Ok(Vec::new()),
            (Stamp::First(rows), _) => {
                let rows = rows.into_iter();
                Ok(rows
                    .map(|row| (row.world_id, row.payload, row.timestamp))
                    .collect())
            }
            (Stamp::Present, Wrong::ResetTouchesPresent) if reset => {
                Ok(vec![("arda".to_owned(), "{}".to_owned(), 0)])
            }
            (Stamp::Present, _) => Ok(Vec::new()),
            _ => Err(incompatible()),
        }
    }

    /// Keeps rows of the first layout, all or, if one cannot be kept, none.
    async fn keep(&self, medium: &Memory, mut rows: Vec<Row>) -> Result<()> {
        match self.wrong {
            Wrong::LastRowIsLost => drop(rows.pop()),
            Wrong::RowsAreOrderedByTime => rows.sort_by_key(|(_, _, timestamp)| *timestamp),
            _ => {}
        }
        let bad = rows
            .iter()
            .find_map(|(world, _, _)| WorldId::new(world).err());
        if let Some(bad) = bad
            && self.wrong != Wrong::FailureLeavesRows
        {
            return Err(bad);
        }
        for row in rows {
            keep_row(medium, row).await?;
        }
        Ok(())
    }
}

/// World, payload and timestamp of a row of the first layout.
type Row = (String, String, i64);

fn incompatible() -> Error {
    Error::new(ErrorKind::Incompatible, "the layout is another")
}

/// Keeps a row as an event, by a writer that claims its world for it.
async fn keep_row(medium: &Memory, (world, text, timestamp): Row) -> Result<()> {
    let world = WorldId::new(world)?;
    let schema = Schema::new().fingerprint();
    let claim = medium.claim(&world, &Owner::process(1), schema).await?;
    let event = WorldRecord::new(world.clone(), Payload::Json(text), timestamp);
    let records = vec![BatchRecord::new(event, History::Latest)];
    let number: BatchNumber = claim.last_number.advance(1)?;
    let part = Part::new(
        world,
        claim.epoch,
        number,
        claim.last_at_ms,
        claim.link,
        records,
    )?;
    let answers = medium.persist_batch(Batch::from(part)).await;
    answers.into_iter().try_for_each(|answer| answer.map(drop))
}
