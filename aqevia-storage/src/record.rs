//! What an engine hands over: a [`WorldRecord`] and the names and payload in it.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

use crate::{Error, ErrorKind, Result};

/// A text that was checked when it was made. The check is the function `$check`.
macro_rules! checked_text {
    ($(#[$docs:meta])* $name:ident, $noun:literal, $check:path) => {
        $(#[$docs])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and keeps a copy of it. Clones share that copy.
            ///
            /// # Errors
            /// `Invalid` if the text is not what the type's documentation allows.
            pub fn new(text: impl AsRef<str>) -> Result<Self> {
                let text = text.as_ref();
                match $check(text) {
                    Ok(()) => Ok(Self(Arc::from(text))),
                    Err(matter) => Err(Error::invalid(format!(
                        concat!($noun, " {}: {}"), Excerpt(text), matter
                    ))),
                }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }
    };
}

checked_text!(
    /// The name of a world: 1 to 128 bytes of UTF-8 without control characters.
    ///
    /// Names that begin with `_` are reserved. Worlds order by the bytes of their names.
    WorldId,
    "world id",
    check_world_id
);

checked_text!(
    /// A named kind of thing in a world: `[a-z][a-z0-9_]{0,62}`, as in `fleets`.
    Collection,
    "collection",
    check_collection
);

checked_text!(
    /// What a record is about within its collection: 1 to 1,024 bytes of UTF-8 without control
    /// characters. Keys order by their bytes.
    Key,
    "key",
    check_key
);

checked_text!(
    /// Who claims a world, as the one who is fenced later reads it: 1 to 128 bytes of UTF-8 without
    /// control characters.
    Owner,
    "owner",
    check_owner
);

impl WorldId {
    /// The longest world id, in bytes.
    pub const BYTES_MAX: usize = 128;
}

impl Owner {
    /// A process, by its number.
    #[must_use]
    pub fn process(id: u32) -> Self {
        Self(Arc::from(format!("process {id}")))
    }
}

impl Collection {
    /// The longest name of a collection, in bytes.
    pub const BYTES_MAX: usize = 63;

    /// The collection `records`, which [`WorldRecord::new`] uses.
    #[must_use]
    pub fn records() -> Self {
        Self(Arc::from("records"))
    }
}

impl Key {
    /// The longest key, in bytes.
    pub const BYTES_MAX: usize = 1024;
}

fn check_world_id(text: &str) -> Result<(), String> {
    if text.starts_with('_') {
        return Err("names that begin with `_` are reserved".into());
    }
    check_text(text, WorldId::BYTES_MAX)
}

fn check_key(text: &str) -> Result<(), String> {
    check_text(text, Key::BYTES_MAX)
}

fn check_owner(text: &str) -> Result<(), String> {
    check_text(text, WorldId::BYTES_MAX)
}

fn check_text(text: &str, bytes_max: usize) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty".into());
    }
    if text.len() > bytes_max {
        let bytes = text.len();
        return Err(format!("is {bytes} bytes long, at most {bytes_max} fit"));
    }
    if text.chars().any(char::is_control) {
        return Err("holds a control character".into());
    }
    Ok(())
}

fn check_collection(text: &str) -> Result<(), String> {
    let bytes_max = Collection::BYTES_MAX;
    if text.starts_with('_') {
        return Err("names that begin with `_` are reserved".into());
    }
    if text.len() > bytes_max {
        let bytes = text.len();
        return Err(format!("is {bytes} bytes long, at most {bytes_max} fit"));
    }
    let mut bytes = text.bytes();
    let head = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
    let tail = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !(head && tail) {
        return Err("is not a lower-case letter followed by letters, digits and `_`".into());
    }
    Ok(())
}

/// At most 40 characters of a text, quoted and escaped, for a message.
struct Excerpt<'a>(&'a str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        let shown: String = chars.by_ref().take(40).collect();
        let more = if chars.next().is_some() { "…" } else { "" };
        write!(f, "{shown:?}{more}")
    }
}

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
    fn world_ids_and_keys_are_short_text_without_control_characters() {
        assert!(WorldId::new("Mittelerde 3.Zeitalter/ö").is_ok());
        assert!(WorldId::new("x".repeat(128)).is_ok());
        for bad in ["", "_ours", "a\0b", "tab\t", &"x".repeat(129)] {
            assert_eq!(
                WorldId::new(bad).unwrap_err().kind(),
                ErrorKind::Invalid,
                "{bad:?}"
            );
        }
        assert!(Key::new("_x").is_ok());
        assert!(Key::new("ö".repeat(512)).is_ok());
        assert!(Key::new("ö".repeat(513)).is_err());
        assert!(Key::new("").is_err());
    }

    #[test]
    fn collections_are_lower_case_identifiers() {
        assert!(Collection::new("a").is_ok());
        assert!(Collection::new(format!("a{}", "_".repeat(62))).is_ok());
        for bad in [
            "",
            "_dead",
            "Fleets",
            "1st",
            "a-b",
            "ä",
            &"a".repeat(64),
            "a\n",
        ] {
            assert!(Collection::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_message_names_the_text_and_the_matter() {
        let error = Collection::new("Fleets").unwrap_err();
        assert_eq!(
            error.to_string(),
            "collection \"Fleets\": is not a lower-case letter followed by letters, digits and `_`"
        );
        let error = WorldId::new("w".repeat(200)).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("…: is 200 bytes long, at most 128 fit")
        );
    }

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
