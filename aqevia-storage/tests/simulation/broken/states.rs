//! What a broken controller says of itself, what it forgets, and what it takes as clean.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use aqevia_storage::{
    Captured, ControllerConfig, Cut, Entity, Exposure, Refused, Result, StateSource,
    StorageBackend, Unflushed, WorldId, WorldRecord,
};
use async_trait::async_trait;

use super::calls::{Started, lock, start};
use super::layer::layer;
use super::layers::{Forgets, Tells};
use crate::history::number;
use crate::subject::{Answer, Real, Subject};

/// Leaves what is pending out of the report.
struct ForgetsOnShutdown(Real);

pub(super) fn forgets_on_shutdown(
    store: Arc<dyn StorageBackend>,
    config: ControllerConfig,
) -> Started {
    start(store, config, |real, _| ForgetsOnShutdown(real))
}

#[async_trait]
impl Subject for ForgetsOnShutdown {
    fn real(&self) -> &Real {
        &self.0
    }

    async fn shutdown(&self) -> Result<(), Unflushed> {
        self.0.shutdown().await.map_err(|mut left| {
            left.pending.clear();
            left
        })
    }
}

/// Reports the last group as pending that it acknowledged.
struct ReportsWhatIsStored {
    real: Real,
    stored: Arc<Mutex<Vec<WorldRecord>>>,
}

pub(super) fn reports_what_is_stored(
    store: Arc<dyn StorageBackend>,
    config: ControllerConfig,
) -> Started {
    start(store, config, |real, _| ReportsWhatIsStored {
        real,
        stored: Arc::default(),
    })
}

#[async_trait]
impl Subject for ReportsWhatIsStored {
    fn real(&self) -> &Real {
        &self.real
    }

    fn submit(&self, world: usize, group: Vec<WorldRecord>) -> Result<Answer, Refused> {
        let given = group.clone();
        let answer = self.real.submit(world, group)?;
        let stored = Arc::clone(&self.stored);
        Ok(Box::pin(async move {
            let receipt = answer.await?;
            *lock(&stored) = given;
            Ok(receipt)
        }))
    }

    async fn shutdown(&self) -> Result<(), Unflushed> {
        self.real.shutdown().await.map_err(|mut left| {
            left.pending.append(&mut lock(&self.stored));
            left
        })
    }
}

/// Never recovers.
struct StaysDegraded {
    real: Real,
    degraded: AtomicBool,
}

pub(super) fn stays_degraded(store: Arc<dyn StorageBackend>, config: ControllerConfig) -> Started {
    start(store, config, |real, _| StaysDegraded {
        real,
        degraded: AtomicBool::new(false),
    })
}

impl Subject for StaysDegraded {
    fn real(&self) -> &Real {
        &self.real
    }

    fn is_healthy(&self) -> bool {
        if !self.real.is_healthy() {
            self.degraded.store(true, Ordering::Relaxed);
        }
        !self.degraded.load(Ordering::Relaxed)
    }
}

/// Says that it is well, whatever happens.
struct IsAlwaysHealthy(Real);

pub(super) fn is_always_healthy(
    store: Arc<dyn StorageBackend>,
    config: ControllerConfig,
) -> Started {
    start(store, config, |real, _| IsAlwaysHealthy(real))
}

impl Subject for IsAlwaysHealthy {
    fn real(&self) -> &Real {
        &self.0
    }

    fn is_healthy(&self) -> bool {
        true
    }
}

/// Tells of less than a crash would lose.
struct HidesExposure(Real);

pub(super) fn hides_exposure(store: Arc<dyn StorageBackend>, config: ControllerConfig) -> Started {
    start(store, config, |real, _| HidesExposure(real))
}

impl Subject for HidesExposure {
    fn real(&self) -> &Real {
        &self.0
    }

    fn exposure(&self) -> Exposure {
        let mut exposure = self.0.controller.exposure();
        exposure.records /= 2;
        exposure
    }
}

/// Persists nothing more once it is dropped.
struct ForgetsWhenDropped {
    real: Real,
    dropped: Arc<AtomicBool>,
}

pub(super) fn forgets_when_dropped(
    store: Arc<dyn StorageBackend>,
    config: ControllerConfig,
) -> Started {
    let dropped = Arc::new(AtomicBool::new(false));
    let store = layer(store, Forgets(Arc::clone(&dropped)));
    start(store, config, |real, _| ForgetsWhenDropped {
        real,
        dropped,
    })
}

impl Subject for ForgetsWhenDropped {
    fn real(&self) -> &Real {
        &self.real
    }
}

impl Drop for ForgetsWhenDropped {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Relaxed);
    }
}

/// Clears what is dirty when it is persisted, and not when it is captured: what is marked between
/// the two is lost.
struct ClearsTooEarly {
    real: Real,
    capturing: Arc<Mutex<BTreeSet<usize>>>,
}

pub(super) fn clears_too_early(
    store: Arc<dyn StorageBackend>,
    config: ControllerConfig,
) -> Started {
    let capturing = Arc::<Mutex<BTreeSet<usize>>>::default();
    let captured = Arc::clone(&capturing);
    let clear = move |world: &WorldId| {
        lock(&captured).remove(&number(world));
    };
    let store = layer(store, Tells(clear));
    start(store, config, |real, _| ClearsTooEarly { real, capturing })
}

impl Subject for ClearsTooEarly {
    fn real(&self) -> &Real {
        &self.real
    }

    fn mark(&self, world: usize, entity: &Entity) -> Result<()> {
        match lock(&self.capturing).contains(&world) {
            true => Ok(()),
            false => self.real.mark(world, entity),
        }
    }

    fn set_source(&self, source: Arc<dyn StateSource>) -> Result<()> {
        let capturing = Arc::clone(&self.capturing);
        self.real.set_source(Arc::new(Noted { source, capturing }))
    }
}

/// A state source, and the worlds of which a capture is not yet persisted.
struct Noted {
    source: Arc<dyn StateSource>,
    capturing: Arc<Mutex<BTreeSet<usize>>>,
}

impl StateSource for Noted {
    fn capture(&self, world: &WorldId, cut: Cut<'_>) -> Vec<Captured> {
        lock(&self.capturing).insert(number(world));
        self.source.capture(world, cut)
    }
}
