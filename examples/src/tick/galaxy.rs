//! What the engine keeps in memory: ships, behind its own lock.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqevia::{Captured, Collection, Cut, Key, Payload, StateSource, WorldId};
use serde::Serialize;
use tokio::time::Instant;

/// The state of one entity: 100 to 200 bytes of JSON.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ship {
    x: f64,
    y: f64,
    heading: f64,
    speed: f64,
    hull: u32,
    shield: u32,
    cargo: [u32; 6],
    /// The tick in which it changed last.
    changed: u64,
}

impl Ship {
    fn new(number: usize) -> Self {
        let number = number as f64;
        Self {
            x: (number * 0.754_877_666).fract() * 1000.0,
            y: (number * 0.569_840_290).fract() * 1000.0,
            heading: number % 360.0,
            speed: 1.0 + number % 7.0,
            hull: 1000,
            shield: 250,
            cargo: [0; 6],
            changed: 0,
        }
    }

    /// Another sixtieth of a second.
    fn advance(&mut self, tick: u64) {
        let (sin, cos) = self.heading.to_radians().sin_cos();
        self.x = (self.x + cos * self.speed / 60.0).rem_euclid(1000.0);
        self.y = (self.y + sin * self.speed / 60.0).rem_euclid(1000.0);
        self.heading = (self.heading + 0.25) % 360.0;
        self.shield = (self.shield + 1) % 1000;
        let hold = self.cargo.iter_mut().min();
        hold.into_iter().for_each(|load| *load += 1);
        self.changed = tick;
    }

    /// Whether it has had a turn: the others were never marked.
    #[must_use]
    pub const fn has_changed(&self) -> bool {
        self.changed > 0
    }

    /// The state as it is stored.
    ///
    /// # Errors
    /// Those of [`Payload::json`].
    pub fn encode(&self) -> aqevia::Result<Payload> {
        Payload::json(self)
    }
}

/// All ships. The engine holds the lock for a tick, and a capture while it copies.
#[derive(Debug)]
pub struct Galaxy {
    collection: Collection,
    keys: Vec<Key>,
    state: Mutex<State>,
}

/// What is behind the lock.
#[derive(Debug)]
pub struct State {
    ships: Vec<Ship>,
    /// For how long captures have held the lock.
    held: Vec<Duration>,
}

/// A step that visits the ships in an order that jumps about in memory, as a game does.
const STRIDE: usize = 7919;

impl Galaxy {
    /// So many ships.
    ///
    /// # Errors
    /// None that depends on the number.
    pub fn new(entities: u32) -> aqevia::Result<Self> {
        let ships = 0..entities as usize;
        let keys = ships
            .clone()
            .map(|number| Key::new(format!("ship-{number}")));
        Ok(Self {
            collection: Collection::new("ships")?,
            keys: keys.collect::<aqevia::Result<_>>()?,
            state: Mutex::new(State {
                ships: ships.map(Ship::new).collect(),
                held: Vec::new(),
            }),
        })
    }

    /// The collection of all ships.
    #[must_use]
    pub const fn collection(&self) -> &Collection {
        &self.collection
    }

    /// The names of the ships, by their numbers.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The lock of the engine.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a ship.
    #[must_use]
    pub fn number(&self, key: &Key) -> Option<usize> {
        let number: usize = key.as_str().strip_prefix("ship-")?.parse().ok()?;
        (number < self.keys.len()).then_some(number)
    }

    /// The names of the ships that change in a tick.
    pub fn changed(&self, tick: u64, count: u32) -> impl Iterator<Item = &Key> {
        let numbers = numbers(tick, count, self.keys.len());
        numbers.filter_map(|number| self.keys.get(number))
    }
}

/// The numbers of the ships that change in a tick: each ship in turn.
fn numbers(tick: u64, count: u32, ships: usize) -> impl Iterator<Item = usize> {
    let count = count as usize;
    let first = usize::try_from(tick)
        .unwrap_or(usize::MAX)
        .wrapping_mul(count);
    (0..count).map(move |index| first.wrapping_add(index).wrapping_mul(STRIDE) % ships)
}

impl State {
    /// Moves some of the ships.
    pub fn advance(&mut self, tick: u64, count: u32) {
        for number in numbers(tick, count, self.ships.len()) {
            if let Some(ship) = self.ships.get_mut(number) {
                ship.advance(tick);
            }
        }
    }

    /// A ship, by its number.
    #[must_use]
    pub fn ship(&self, number: usize) -> Option<&Ship> {
        self.ships.get(number)
    }

    /// For how long each capture held the lock.
    pub fn take_held(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.held)
    }
}

impl StateSource for Galaxy {
    fn capture(&self, _world: &WorldId, cut: Cut<'_>) -> Vec<Captured> {
        // Under the lock: what is dirty, and a copy of all ships, which most of them are. To look
        // for each of them, and to encode it, is for later.
        let (entities, ships) = {
            let mut state = self.lock();
            let begin = Instant::now();
            let copied = (cut.take(), state.ships.clone());
            state.held.push(begin.elapsed());
            copied
        };
        let captured = entities.into_iter().map(|entity| {
            let number = self.number(&entity.key);
            match number.and_then(|number| ships.get(number).copied()) {
                Some(ship) => {
                    let tick = i64::try_from(ship.changed).unwrap_or(i64::MAX);
                    Captured::put(entity, tick, move || ship.encode())
                }
                None => Captured::delete(entity, 0),
            }
        });
        captured.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ship_has_its_turn_and_a_state_of_ordinary_size() {
        let galaxy = Galaxy::new(100).unwrap();
        let mut turns: Vec<_> = (1..=10).flat_map(|tick| galaxy.changed(tick, 10)).collect();
        turns.sort();
        turns.dedup();
        assert_eq!(turns.len(), 100);
        let mut state = galaxy.lock();
        (1..=10).for_each(|tick| state.advance(tick, 10));
        for (number, key) in galaxy.keys().iter().enumerate() {
            assert_eq!(galaxy.number(key), Some(number));
            let bytes = state.ship(number).unwrap().encode().unwrap().len();
            assert!((100..=200).contains(&bytes), "{bytes}");
        }
        assert_eq!(galaxy.number(&Key::new("ship-100").unwrap()), None);
    }
}
