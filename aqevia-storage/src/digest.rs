//! The hashes of parts: of the records of one, and of the chain of all.

use std::fmt;

use crate::{BatchNumber, BatchRecord, Change, Epoch, Key, Payload, WorldRecord};

/// The hash of a part's records in two halves, so that the log stays verifiable after trimming.
///
/// CONTRACT.md gives the bytes that are hashed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// The BLAKE3 hash of the records that go into the log.
    pub logged: [u8; 32],
    /// The BLAKE3 hash of the others.
    pub rest: [u8; 32],
}

impl Digest {
    pub(crate) fn of(records: &[BatchRecord]) -> Self {
        let (mut logged, mut rest) = (Half::default(), Half::default());
        for (position, record) in (0_u32..).zip(records) {
            match record.is_logged() {
                true => logged.add(position, record.record()),
                false => rest.add(position, record.record()),
            }
        }
        Self {
            logged: logged.end(),
            rest: rest.end(),
        }
    }

    /// The two halves one behind the other: what a store keeps.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let (logged, rest) = bytes.split_at_mut(32);
        logged.copy_from_slice(&self.logged);
        rest.copy_from_slice(&self.rest);
        bytes
    }
}

/// A half of a digest in the making. To hash 32 KiB at once takes two fifths of the time that records of
/// 300 bytes one by one do.
#[derive(Default)]
struct Half {
    hasher: blake3::Hasher,
    waiting: Vec<u8>,
}

impl Half {
    const WAITING_MAX: usize = 32 << 10;

    fn add(&mut self, position: u32, record: &WorldRecord) {
        encode_head(position, record, &mut self.waiting);
        let payload = record.payload().map_or(&[][..], Payload::as_bytes);
        if self.waiting.len() + payload.len() <= Self::WAITING_MAX {
            return self.waiting.extend_from_slice(payload);
        }
        self.hasher.update(&self.waiting);
        self.hasher.update(payload);
        self.waiting.clear();
    }

    fn end(mut self) -> [u8; 32] {
        self.hasher.update(&self.waiting);
        *self.hasher.finalize().as_bytes()
    }
}

/// Everything of a record but the bytes of its payload, with every length before what it measures.
fn encode_head(position: u32, record: &WorldRecord, out: &mut Vec<u8>) {
    let tag = match record.change {
        Change::Put { .. } => 1_u8,
        Change::Delete { .. } => 2,
        Change::Event { .. } => 3,
    };
    let collection = record.collection.as_str().as_bytes();
    let key = record.key().map_or("", Key::as_str).as_bytes();
    let (form, bytes) = record
        .payload()
        .map_or((0, 0), |payload| (payload.form() as u8, payload.len()));
    out.extend_from_slice(&position.to_le_bytes());
    out.push(tag);
    out.extend_from_slice(&record.timestamp.to_le_bytes());
    out.extend_from_slice(&(collection.len() as u32).to_le_bytes());
    out.extend_from_slice(collection);
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(key);
    out.push(form);
    out.extend_from_slice(&(bytes as u32).to_le_bytes());
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let logged = blake3::Hash::from_bytes(self.logged);
        let rest = blake3::Hash::from_bytes(self.rest);
        write!(f, "digest {logged}/{rest}")
    }
}

/// The hash of a world's parts up to one of them: of the link before, epoch, number and digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Link(pub [u8; 32]);

impl Link {
    /// The link before a world's first part.
    pub const ORIGIN: Self = Self([0; 32]);

    /// The link of the part that follows.
    #[must_use]
    pub fn next(self, epoch: Epoch, number: BatchNumber, digest: &Digest) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher.update(&epoch.get().to_le_bytes());
        hasher.update(&number.get().to_le_bytes());
        hasher.update(&digest.logged);
        hasher.update(&digest.rest);
        Self(*hasher.finalize().as_bytes())
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {}", blake3::Hash::from_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Collection, History, WorldId};

    fn arda() -> WorldId {
        WorldId::new("arda").unwrap()
    }

    fn event(payload: &str) -> BatchRecord {
        let payload = payload.as_bytes().to_vec();
        BatchRecord::new(WorldRecord::new(arda(), payload, 1), History::Latest)
    }

    fn put(payload: &str) -> BatchRecord {
        let (fleets, key) = (Collection::new("fleets"), Key::new("west"));
        let payload = Payload::Json(payload.into());
        let record = WorldRecord::put(&arda(), &fleets.unwrap(), key.unwrap(), payload, 0);
        BatchRecord::new(record, History::Latest)
    }

    #[test]
    fn the_halves_of_a_digest_depend_on_their_own_records_only() {
        let one = Digest::of(&[event("e"), put("1")]);
        let other = Digest::of(&[event("e"), put("2")]);
        assert_eq!(one.logged, other.logged);
        assert_ne!(one.rest, other.rest);
        let next = |digest| Link::ORIGIN.next(Epoch::FIRST, BatchNumber::FIRST, digest);
        assert_ne!(next(&one), next(&other));
    }
}
