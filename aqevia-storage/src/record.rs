//! What an engine hands over: a [`WorldRecord`] and the payload in it.

use std::fmt;

use serde::Serialize;

use crate::{Collection, Error, ErrorKind, Key, Result, WorldId};

/// How the bytes of a stored payload are to be read; one byte in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Form {
    /// JSON text in UTF-8.
    Json = 1,
    /// Opaque bytes.
    Bytes = 2,
}

impl TryFrom<u8> for Form {
    type Error = Error;

    fn try_from(byte: u8) -> Result<Self> {
        match byte {
            1 => Ok(Self::Json),
            2 => Ok(Self::Bytes),
            _ => Err(Error::corrupt(format!(
                "payload form {byte} is not known to this version"
            ))),
        }
    }
}

/// JSON text or opaque bytes, returned byte for byte (clause P4). At most [`Payload::BYTES_MAX`].
///
/// `Debug` shows the form and the length, not the content.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Payload {
    /// Text that its author says is JSON. It is stored as it is, not parsed.
    Json(String),
    /// Any bytes.
    Bytes(Vec<u8>),
}

impl Payload {
    /// The largest payload, in bytes: 16 MiB.
    pub const BYTES_MAX: usize = 16 << 20;

    /// `value` as JSON text.
    ///
    /// ```
    /// # use aqevia_storage::Payload;
    /// let payload = Payload::json(&[1, 2, 3])?;
    /// assert_eq!(payload.as_bytes(), b"[1,2,3]");
    /// # Ok::<(), aqevia_storage::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if the value has no JSON form, such as a map whose keys are not text.
    pub fn json(value: &impl Serialize) -> Result<Self> {
        serde_json::to_string(value)
            .map(Self::Json)
            .map_err(|error| Error::invalid("encode a payload as JSON").with_source(error))
    }

    /// The payload of `form` that a store kept as `bytes`.
    ///
    /// # Errors
    /// `Corrupt` if the form is JSON and the bytes are not UTF-8.
    pub fn from_stored(form: Form, bytes: Vec<u8>) -> Result<Self> {
        match form {
            Form::Bytes => Ok(Self::Bytes(bytes)),
            Form::Json => String::from_utf8(bytes)
                .map(Self::Json)
                .map_err(|_| Error::corrupt("a stored JSON payload is not UTF-8")),
        }
    }

    /// How the bytes are to be read.
    #[must_use]
    pub const fn form(&self) -> Form {
        match self {
            Self::Json(_) => Form::Json,
            Self::Bytes(_) => Form::Bytes,
        }
    }

    /// The bytes, as given.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Json(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether there are no bytes; that is a payload like any other.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} payload of {} bytes", self.form(), self.len())
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// What a record does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The key has this payload from now on.
    Put {
        /// The key whose state moves.
        key: Key,
        /// Its whole new payload.
        payload: Payload,
    },
    /// The key is gone. Deleting a key that is not there is allowed and changes no state.
    Delete {
        /// The key that goes.
        key: Key,
    },
    /// Something happened. It is added to the log and moves no state.
    Event {
        /// A label, which may repeat.
        key: Option<Key>,
        /// What happened.
        payload: Payload,
    },
}

/// One change in a world.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorldRecord {
    /// The world that changes.
    pub world: WorldId,
    /// The kind of thing that changes.
    pub collection: Collection,
    /// What changes.
    pub change: Change,
    /// The engine's time of the change, in milliseconds: data, never used to decide anything.
    pub timestamp: i64,
}

impl WorldRecord {
    /// An event without a key in the collection `records`.
    pub fn new(world: WorldId, payload: impl Into<Payload>, timestamp: i64) -> Self {
        let payload = payload.into();
        let change = Change::Event { key: None, payload };
        Self::of(&world, &Collection::records(), change, timestamp)
    }

    /// The record that `change` happens in a collection of a world.
    #[must_use]
    pub fn of(world: &WorldId, collection: &Collection, change: Change, timestamp: i64) -> Self {
        Self {
            world: world.clone(),
            collection: collection.clone(),
            change,
            timestamp,
        }
    }

    /// `key` has `payload` from now on.
    pub fn put(
        world: &WorldId,
        collection: &Collection,
        key: Key,
        payload: impl Into<Payload>,
        timestamp: i64,
    ) -> Self {
        let payload = payload.into();
        Self::of(world, collection, Change::Put { key, payload }, timestamp)
    }

    /// `key` is gone.
    #[must_use]
    pub fn delete(world: &WorldId, collection: &Collection, key: Key, timestamp: i64) -> Self {
        Self::of(world, collection, Change::Delete { key }, timestamp)
    }

    /// Something happened, labelled `key` or nothing.
    pub fn event(
        world: &WorldId,
        collection: &Collection,
        key: Option<Key>,
        payload: impl Into<Payload>,
        timestamp: i64,
    ) -> Self {
        let payload = payload.into();
        Self::of(world, collection, Change::Event { key, payload }, timestamp)
    }

    /// The key that the record puts, deletes or is labelled with.
    #[must_use]
    pub const fn key(&self) -> Option<&Key> {
        match &self.change {
            Change::Put { key, .. } | Change::Delete { key } => Some(key),
            Change::Event { key, .. } => key.as_ref(),
        }
    }

    /// The payload, which a delete has not.
    #[must_use]
    pub const fn payload(&self) -> Option<&Payload> {
        match &self.change {
            Change::Put { payload, .. } | Change::Event { payload, .. } => Some(payload),
            Change::Delete { .. } => None,
        }
    }

    /// The bytes of collection, key and payload together: what limits in bytes count.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let key = self.key().map_or(0, |key| key.as_str().len());
        self.collection.as_str().len() + key + self.payload().map_or(0, Payload::len)
    }

    /// Checks what the types do not exclude: the length of the payload.
    ///
    /// # Errors
    /// `Invalid` if the payload is longer than [`Payload::BYTES_MAX`].
    pub fn check(&self) -> Result<()> {
        let bytes = self.payload().map_or(0, Payload::len);
        if bytes <= Payload::BYTES_MAX {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "record in collection {:?} of world {:?}: the payload is {bytes} bytes long, at \
                 most {} fit",
                self.collection,
                self.world,
                Payload::BYTES_MAX
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_payload() {
        let world = WorldId::new("arda").unwrap();
        let record = WorldRecord::new(world, b"secret".to_vec(), 5);
        assert!(!format!("{record:?}").contains("secret"));
        assert!(format!("{record:?}").contains("6 bytes"));
    }

    #[test]
    fn a_payload_over_sixteen_mebibytes_is_refused() {
        let world = WorldId::new("arda").unwrap();
        let fits = WorldRecord::new(world.clone(), vec![0; Payload::BYTES_MAX], 0);
        assert!(fits.check().is_ok());
        let over = WorldRecord::new(world, vec![0; Payload::BYTES_MAX + 1], 0);
        assert_eq!(over.check().unwrap_err().kind(), ErrorKind::Invalid);
    }
}
