//! The bytes of keys and values.
//!
//! Keys order as what they stand for (clause R6), and no world's keys lie among those of another
//! (clause R4): a world's name stands behind its length, a collection ends with a zero byte, which
//! no collection holds, and numbers are big-endian.

use aqevia_storage::{BatchNumber, Collection, Error, Key, Result, Sequence, WorldId};

/// What the keys of a world begin with, in every tree but that of the worlds.
pub(crate) fn world_prefix(world: &WorldId) -> Vec<u8> {
    let name = world.as_str().as_bytes();
    let mut key = Vec::with_capacity(1 + name.len() + KEY_ROOM);
    // Invariant: a name has at most 128 bytes.
    key.push(name.len() as u8);
    key.extend_from_slice(name);
    key
}

/// Room for what most keys hold after the world.
const KEY_ROOM: usize = 48;

/// The key of a row of the log.
pub(crate) fn log_key(world: &WorldId, sequence: Sequence) -> Vec<u8> {
    numbered(world, sequence.get())
}

/// The sequence in a key of the log.
pub(crate) fn log_sequence(key: &[u8]) -> Result<Sequence> {
    let number = key.last_chunk().copied().map(u64::from_be_bytes);
    number.map_or_else(|| Err(short()), Sequence::new)
}

/// The key of a part.
pub(crate) fn batch_key(world: &WorldId, number: BatchNumber) -> Vec<u8> {
    numbered(world, number.get())
}

fn numbered(world: &WorldId, number: u64) -> Vec<u8> {
    let mut key = world_prefix(world);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// What the keys of a collection's state begin with.
pub(crate) fn collection_prefix(world: &WorldId, collection: &Collection) -> Vec<u8> {
    let mut prefix = world_prefix(world);
    prefix.extend_from_slice(collection.as_str().as_bytes());
    prefix.push(0);
    prefix
}

/// The key of a row of the state.
pub(crate) fn state_key(world: &WorldId, collection: &Collection, key: &Key) -> Vec<u8> {
    let mut bytes = collection_prefix(world, collection);
    bytes.extend_from_slice(key.as_str().as_bytes());
    bytes
}

/// Collection and key in a key of the state.
pub(crate) fn state_names<'a>(world: &WorldId, key: &'a [u8]) -> Result<(&'a str, &'a str)> {
    let names = key.get(1 + world.as_str().len()..).ok_or_else(short)?;
    let end = names.iter().position(|byte| *byte == 0).ok_or_else(short)?;
    let (collection, rest) = names.split_at_checked(end).ok_or_else(short)?;
    Ok((text(collection)?, text(rest.get(1..).ok_or_else(short)?)?))
}

/// Whose payload a chunk belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Place {
    /// A row of the log.
    Log = b'l',
    /// A row of the state.
    State = b's',
}

/// The key of a chunk of the payload that was written at a sequence.
pub(crate) fn chunk_key(place: Place, world: &WorldId, sequence: Sequence, index: u32) -> Vec<u8> {
    let mut key = world_prefix(world);
    key.push(place as u8);
    key.extend_from_slice(&sequence.get().to_be_bytes());
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// The first key after all that begin with `prefix`, for keys whose next byte is never 255.
pub(crate) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    end.push(u8::MAX);
    end
}

/// Writes the fields of a value.
#[derive(Default)]
pub(crate) struct Fields(Vec<u8>);

impl Fields {
    pub(crate) fn with_room(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(crate) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn i64(self, value: i64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// A text of at most 65,535 bytes, behind its length.
    pub(crate) fn text(mut self, text: &str) -> Self {
        // Invariant: every name has its limit far below.
        self.0.extend_from_slice(&(text.len() as u16).to_be_bytes());
        self.bytes(text.as_bytes())
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads the fields of a value, in the order in which they were written.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(value: &'a [u8]) -> Self {
        Self(value)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk().ok_or_else(short)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str> {
        let length = usize::from(self.array().map(u16::from_be_bytes)?);
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(short)?;
        self.0 = rest;
        text(bytes)
    }

    /// All that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Ends the reading of a value that has no more fields.
    pub(crate) fn finish(self) -> Result<()> {
        match self.0 {
            [] => Ok(()),
            more => Err(Error::corrupt(format!(
                "it is {} bytes too long",
                more.len()
            ))),
        }
    }
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes)
        .map_err(|error| Error::corrupt("a name is not UTF-8").with_source(error))
}

fn short() -> Error {
    Error::corrupt("it is too short")
}

#[cfg(test)]
mod tests;
