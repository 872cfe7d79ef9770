//! Our side: an engine that hands each turn over as a group.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use aqevia::{ControllerConfig, ErrorKind, StorageController, World, WorldId, WorldRecord};
use examples::replay::turns::Turn;
use tokio::time::Instant;

/// What an engine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Each turn is durable before the next.
    Committed,
    /// Nothing, unless the buffer is full; a flush ends each round.
    Submitted,
}

impl Pace {
    pub(super) const ALL: [Self; 2] = [Self::Committed, Self::Submitted];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Submitted => "submitted",
        }
    }
}

/// An engine that plays what was recorded.
pub(super) struct Player {
    controller: StorageController,
    worlds: HashMap<WorldId, World>,
    pace: Pace,
}

impl Player {
    pub(super) async fn open(url: &str, pace: Pace) -> Result<Self> {
        let config = ControllerConfig::default();
        Ok(Self {
            controller: StorageController::start(aqevia::open(url)?, config).await?,
            worlds: HashMap::new(),
            pace,
        })
    }

    /// Plays turns until all of them are durable, and tells how long that took. Worlds that begin
    /// with them are opened in that time.
    pub(super) async fn play(&mut self, turns: &[Turn]) -> Result<Duration> {
        let groups: Vec<_> = turns.iter().map(|turn| turn.records.clone()).collect();
        let begin = Instant::now();
        for (turn, group) in turns.iter().zip(groups) {
            let world = self.world(&turn.world).await?;
            match self.pace {
                Pace::Committed => drop(world.commit(group).await?),
                Pace::Submitted => self.submit(&world, group).await?,
            }
        }
        self.controller.flush().await?;
        Ok(begin.elapsed())
    }

    async fn world(&mut self, id: &WorldId) -> Result<World> {
        if let Some(world) = self.worlds.get(id) {
            return Ok(world.clone());
        }
        let world = self.controller.open_world(id.clone()).await?;
        self.worlds.insert(id.clone(), world.clone());
        Ok(world)
    }

    /// Hands over a group, after a flush if the buffer is full.
    async fn submit(&self, world: &World, mut group: Vec<WorldRecord>) -> Result<()> {
        loop {
            let Err(refused) = world.submit(group) else {
                return Ok(());
            };
            if refused.error.kind() != ErrorKind::Backpressure {
                return Err(refused.error.into());
            }
            group = refused.records;
            self.controller.flush().await?;
        }
    }

    pub(super) async fn close(self) -> Result<()> {
        Ok(self.controller.shutdown().await?)
    }
}
