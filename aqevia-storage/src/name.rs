//! The names that are checked once, when they are made.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use crate::{Error, Result};

/// A text with its hash. An engine looks up thousands of names a tick, most of them not in the cache
/// of its CPU: a map finds one by the hash, and by the address of the text that clones share.
#[derive(Clone)]
struct Text {
    hash: u64,
    text: Arc<str>,
}

/// Makes the hashes of all names of this process, which nobody outside can foresee.
static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Text {
    fn new(text: &str) -> Self {
        Self {
            hash: HASHES.hash_one(text),
            text: Arc::from(text),
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        let same = || Arc::ptr_eq(&self.text, &other.text) || self.text == other.text;
        self.hash == other.hash && same()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        match Arc::ptr_eq(&self.text, &other.text) {
            true => Ordering::Equal,
            false => self.text.cmp(&other.text),
        }
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Lets a map take the hash of a name as it is.
pub(crate) type HashOfName = BuildHasherDefault<NameHasher>;

#[derive(Clone, Debug, Default)]
pub(crate) struct NameHasher(u64);

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    /// Not for names: they write their hash.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

/// A text that was checked when it was made. The check is the function `$check`.
macro_rules! checked_text {
    ($(#[$docs:meta])* $name:ident, $noun:literal, $check:path) => {
        $(#[$docs])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Text);

        impl $name {
            /// Checks `text` and keeps a copy of it. Clones share that copy.
            ///
            /// # Errors
            /// `Invalid` if the text is not what the type's documentation allows.
            pub fn new(text: impl AsRef<str>) -> Result<Self> {
                let text = text.as_ref();
                match $check(text) {
                    Ok(()) => Ok(Self(Text::new(text))),
                    Err(matter) => Err(Error::invalid(format!(
                        concat!($noun, " {}: {}"), Excerpt(text), matter
                    ))),
                }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0.text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.as_str().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.as_str().fmt(f)
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
        Self(Text::new(&format!("process {id}")))
    }
}

impl Collection {
    /// The longest name of a collection, in bytes.
    pub const BYTES_MAX: usize = 63;

    /// Whether only the core writes to the collection.
    pub(crate) fn is_ours(&self) -> bool {
        self.as_str().starts_with('_')
    }

    /// The collection `records`, which [`crate::WorldRecord::new`] uses.
    #[must_use]
    pub fn records() -> Self {
        Self(Text::new("records"))
    }

    /// The collection `_dead_letters`, in which stand the records that a store refused and that
    /// nobody waited for. Names that begin with `_` are ours: a record of it is not accepted.
    #[must_use]
    pub fn dead_letters() -> Self {
        Self(Text::new(DEAD_LETTERS))
    }
}

impl Key {
    /// The longest key, in bytes.
    pub const BYTES_MAX: usize = 1024;
}

/// The one collection of ours that there is.
const DEAD_LETTERS: &str = "_dead_letters";

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
    if text == DEAD_LETTERS {
        return Ok(());
    }
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::ErrorKind;

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
    fn names_of_one_text_are_one_in_any_map() {
        let [one, two] = [0; 2].map(|_| Key::new("ship").unwrap());
        let other = Key::new("ship 2").unwrap();
        let plain: HashSet<Key> = [one.clone(), two.clone(), other.clone()].into();
        let ours: HashSet<Key, HashOfName> = plain.iter().cloned().collect();
        for known in [&one, &two, &other] {
            assert!(plain.contains(known) && ours.contains(known));
        }
        assert_eq!((plain.len(), ours.len()), (2, 2));
        assert!(one == two && one < other);
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
}
