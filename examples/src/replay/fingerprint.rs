//! Entities and events in 128 bits each.

use aqevia::{Collection, Key, Payload, WorldId};

/// Stands for something that was hashed: the first 128 bits of its BLAKE3 hash.
pub type Fingerprint = u128;

/// Which entity it is.
#[must_use]
pub fn of_name(world: &WorldId, collection: &Collection, key: &Key) -> Fingerprint {
    let mut hasher = blake3::Hasher::new();
    add(&mut hasher, world.as_str().as_bytes());
    add(&mut hasher, collection.as_str().as_bytes());
    add(&mut hasher, key.as_str().as_bytes());
    finish(&hasher)
}

/// What an entity is: its payload, and which record put it.
#[must_use]
pub fn of_content(sequence: u64, timestamp: i64, payload: &Payload) -> Fingerprint {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    hasher.update(&timestamp.to_le_bytes());
    hasher.update(&[payload.form() as u8]);
    add(&mut hasher, payload.as_bytes());
    finish(&hasher)
}

/// A log up to an event: the fingerprint of the log before it, its name and its content.
#[must_use]
pub fn of_log(before: Fingerprint, name: Fingerprint, content: Fingerprint) -> Fingerprint {
    let mut hasher = blake3::Hasher::new();
    for part in [before, name, content] {
        hasher.update(&part.to_le_bytes());
    }
    finish(&hasher)
}

/// Adds a part behind its length, so that no two sequences of parts hash alike.
fn add(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}

fn finish(hasher: &blake3::Hasher) -> Fingerprint {
    let mut first = [0; 16];
    hasher.finalize_xof().fill(&mut first);
    u128::from_le_bytes(first)
}
