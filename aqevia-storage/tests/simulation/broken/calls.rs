//! What a broken controller does to the groups that it is given.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aqevia_storage::{
    ControllerConfig, Error, ErrorKind, Exposure, Receipt, Refused, Result, Sequence,
    StorageBackend, Unflushed, WorldRecord,
};
use async_trait::async_trait;

use crate::subject::{Answer, Later, Real, Subject};

pub(super) type Started = Later<Result<Arc<dyn Subject>>>;

/// Starts the real controller, and puts a broken one before it.
pub(super) fn start<S: Subject + 'static>(
    store: Arc<dyn StorageBackend>,
    config: ControllerConfig,
    wrap: impl FnOnce(Real, ControllerConfig) -> S + Send + 'static,
) -> Started {
    Box::pin(async move {
        let real = Real::start(store, config.clone()).await?;
        Ok(Arc::new(wrap(real, config)) as Arc<dyn Subject>)
    })
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Acknowledges a group as soon as it has it.
struct AcknowledgesEarly(Real);

pub(super) fn acknowledges_early(
    store: Arc<dyn StorageBackend>,
    config: ControllerConfig,
) -> Started {
    start(store, config, |real, _| AcknowledgesEarly(real))
}

impl Subject for AcknowledgesEarly {
    fn real(&self) -> &Real {
        &self.0
    }

    fn submit(&self, world: usize, group: Vec<WorldRecord>) -> Result<Answer, Refused> {
        let count = u32::try_from(group.len()).unwrap_or(u32::MAX);
        let answer = self.0.submit(world, group)?;
        tokio::spawn(answer);
        Ok(Box::pin(async move {
            Ok(Receipt::written(Sequence::FIRST, count))
        }))
    }
}

/// Gives every second record before the one that came before it.
struct Swaps {
    real: Real,
    pending_records_max: usize,
    held: Mutex<BTreeMap<usize, WorldRecord>>,
}

pub(super) fn swaps(store: Arc<dyn StorageBackend>, config: ControllerConfig) -> Started {
    start(store, config, |real, config| Swaps {
        real,
        pending_records_max: config.pending_records_max,
        held: Mutex::default(),
    })
}

impl Swaps {
    fn release(&self) {
        for (world, record) in std::mem::take(&mut *lock(&self.held)) {
            // There was room for it when it came.
            drop(self.real.record(record, world));
        }
    }
}

#[async_trait]
impl Subject for Swaps {
    fn real(&self) -> &Real {
        &self.real
    }

    fn record(&self, record: WorldRecord, world: usize) -> Result<(), Refused> {
        let held = lock(&self.held).remove(&world);
        let Some(held) = held else {
            let room = self.exposure().records + 2 <= self.pending_records_max;
            if room && self.real.world(world).stopped().is_none() {
                lock(&self.held).insert(world, record);
                return Ok(());
            }
            return self.real.record(record, world);
        };
        let given = self.real.record(record, world);
        self.real.record(held, world).and(given)
    }

    fn submit(&self, world: usize, group: Vec<WorldRecord>) -> Result<Answer, Refused> {
        self.release();
        self.real.submit(world, group)
    }

    fn commit(&self, world: usize, group: Vec<WorldRecord>) -> Answer {
        self.release();
        self.real.commit(world, group)
    }

    async fn flush(&self) -> Result<()> {
        self.release();
        self.real.flush().await
    }

    async fn shutdown(&self) -> Result<(), Unflushed> {
        self.release();
        self.real.shutdown().await
    }
}

/// Takes a record for which there is no room.
struct Grows {
    real: Real,
    queue: Mutex<VecDeque<(usize, WorldRecord)>>,
}

pub(super) fn grows(store: Arc<dyn StorageBackend>, config: ControllerConfig) -> Started {
    start(store, config, |real, _| Grows {
        real,
        queue: Mutex::default(),
    })
}

impl Grows {
    /// Gives what there is room for; whether that was all.
    fn drain(&self) -> bool {
        let mut queue = lock(&self.queue);
        while let Some((world, record)) = queue.pop_front() {
            if let Err(refused) = self.real.record(record, world) {
                let records = refused.records.into_iter();
                records.for_each(|record| queue.push_front((world, record)));
                return false;
            }
        }
        true
    }
}

#[async_trait]
impl Subject for Grows {
    fn real(&self) -> &Real {
        &self.real
    }

    fn record(&self, record: WorldRecord, world: usize) -> Result<(), Refused> {
        self.drain();
        let mut queue = lock(&self.queue);
        if !queue.is_empty() {
            queue.push_back((world, record));
            return Ok(());
        }
        let Err(refused) = self.real.record(record, world) else {
            return Ok(());
        };
        if refused.error.kind() != ErrorKind::Backpressure {
            return Err(refused);
        }
        let records = refused.records.into_iter();
        queue.extend(records.map(|record| (world, record)));
        Ok(())
    }

    fn exposure(&self) -> Exposure {
        let mut exposure = self.real.exposure();
        exposure.records += lock(&self.queue).len();
        exposure
    }

    async fn shutdown(&self) -> Result<(), Unflushed> {
        while !self.drain() && self.real.flush().await.is_ok() {}
        self.real.shutdown().await
    }
}

/// Hands back all but one of the records that it does not accept.
struct HandsBackLess(Real);

pub(super) fn hands_back_less(store: Arc<dyn StorageBackend>, config: ControllerConfig) -> Started {
    start(store, config, |real, _| HandsBackLess(real))
}

impl Subject for HandsBackLess {
    fn real(&self) -> &Real {
        &self.0
    }

    fn submit(&self, world: usize, group: Vec<WorldRecord>) -> Result<Answer, Refused> {
        self.0.submit(world, group).map_err(|mut refused| {
            refused.records.pop();
            refused
        })
    }
}

/// Makes two groups of one, if there is room for both.
struct Splits {
    real: Real,
    config: ControllerConfig,
}

pub(super) fn splits(store: Arc<dyn StorageBackend>, config: ControllerConfig) -> Started {
    start(store, config, |real, config| Splits { real, config })
}

impl Subject for Splits {
    fn real(&self) -> &Real {
        &self.real
    }

    fn submit(&self, world: usize, mut group: Vec<WorldRecord>) -> Result<Answer, Refused> {
        let (exposure, config) = (self.exposure(), &self.config);
        let bytes: usize = group.iter().map(WorldRecord::bytes).sum();
        let count = group.len();
        let room = exposure.records + count <= config.pending_records_max
            && exposure.bytes + bytes <= config.pending_bytes_max
            && count <= config.batch_records_max
            && bytes <= config.batch_bytes_max;
        if !room || count < 2 {
            return self.real.submit(world, group);
        }
        let rest = group.split_off(count / 2);
        let first = self.real.submit(world, group)?;
        let second = self.real.submit(world, rest)?;
        Ok(Box::pin(async move {
            let first = first.await?;
            let count = first.count + second.await?.count;
            Ok(Receipt::written(first.first, count))
        }))
    }
}

/// Tells the next group of a world that it is refused as well.
struct FailsNeighbours {
    real: Real,
    refused: Arc<Mutex<BTreeSet<usize>>>,
}

pub(super) fn fails_neighbours(
    store: Arc<dyn StorageBackend>,
    config: ControllerConfig,
) -> Started {
    start(store, config, |real, _| FailsNeighbours {
        real,
        refused: Arc::default(),
    })
}

impl Subject for FailsNeighbours {
    fn real(&self) -> &Real {
        &self.real
    }

    fn submit(&self, world: usize, group: Vec<WorldRecord>) -> Result<Answer, Refused> {
        let answer = self.real.submit(world, group)?;
        let refused = Arc::clone(&self.refused);
        Ok(Box::pin(async move {
            let answer = answer.await;
            match &answer {
                Err(error) if error.kind() == ErrorKind::Invalid => {
                    lock(&refused).insert(world);
                }
                Ok(_) if lock(&refused).remove(&world) => {
                    return Err(Error::invalid("so was the one before"));
                }
                _ => {}
            }
            answer
        }))
    }
}
