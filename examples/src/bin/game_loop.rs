//! A game loop without a runtime, whose ticks wait for no store: `cargo run --bin game_loop [URL]`

use std::collections::HashMap;
use std::io::{Write, stdout};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aqevia::{Captured, Collection, Cut, Key, Limit, Payload, Reads, StateRange, StateSource};
use aqevia::{StorageController, WorldId, WorldRecord, block_on};
use examples::config;
use examples::log::to_stderr;

/// What holds unless the environment or the URL says otherwise.
const SETTINGS: [(&str, &str); 2] = [
    ("AQEVIA_SQLITE_PATH", "game_loop.sqlite"),
    ("PERSIST_AUTO_SAVE_INTERVAL_MS", "250"),
];

/// How many points each ship has: the game's state, behind the game's lock.
#[derive(Default)]
struct Game(Mutex<HashMap<Key, u32>>);

impl StateSource for Game {
    /// Copies what is dirty while it holds the lock; it is encoded afterwards.
    fn capture(&self, _world: &WorldId, cut: Cut<'_>) -> Vec<Captured> {
        let ships = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let dirty = cut.take().into_iter();
        let captured = dirty.map(|ship| match ships.get(&ship.key).copied() {
            Some(points) => Captured::put(ship, 0, move || Payload::json(&points)),
            None => Captured::delete(ship, 0),
        });
        captured.collect()
    }
}

fn main() -> anyhow::Result<()> {
    to_stderr();
    let mut arguments = config::arguments(include_str!("game_loop.rs"))?;
    // Settings of the controller may stand in the URL: `…?persist_auto_save_interval_ms=100`
    let config = config::read(arguments.next(), &SETTINGS)?;
    let store = aqevia::open_with(&config)?;
    let controller = StorageController::start_blocking(store, config.controller)?;
    let world = controller.open_world_blocking(WorldId::new("arda")?)?;
    let fleet = Collection::new("ships")?;

    let game = Arc::new(Game::default());
    let mut next = Some(StateRange::collection(fleet.clone()));
    while let Some(range) = next {
        let page = block_on(controller.state(world.id(), range, Limit::default()))?;
        let mut ships = game.0.lock().unwrap_or_else(PoisonError::into_inner);
        for row in page.items {
            ships.insert(row.key, serde_json::from_slice(row.payload.as_bytes())?);
        }
        next = page.next;
    }
    controller.set_state_source(Arc::clone(&game) as _)?;

    for tick in 1..=60 {
        let ship = Key::new(format!("ship {}", tick % 10))?;
        let mut ships = game.0.lock().unwrap_or_else(PoisonError::into_inner);
        *ships.entry(ship.clone()).or_default() += tick;
        // Neither waits: the state is asked for later, the event goes into the buffer.
        world.mark_dirty(&fleet, &ship)?;
        let told = Payload::json(&format!("{ship} scores {tick}"))?;
        world.record(WorldRecord::new(world.id().clone(), told, tick.into()))?;
        drop(ships);
        std::thread::park_timeout(Duration::from_millis(16));
    }

    let saved = controller.save_all_blocking()?;
    let sequence = world.commit_blocking(Vec::new())?.first;
    let ships = game.0.lock().unwrap_or_else(PoisonError::into_inner);
    let sum: u32 = ships.values().sum();
    let last = saved.entities;
    let said = format!("{sum} points; {last} ships saved last, all before {sequence}");
    writeln!(stdout(), "{said}")?;
    Ok(controller.shutdown_blocking()?)
}
