//! What an engine declares about its collections.

use std::collections::BTreeMap;
use std::fmt;

use crate::Collection;

/// What is kept of the Puts and Deletes of a collection. Events are always in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum History {
    /// The state only, as in any key-value store.
    #[default]
    Latest,
    /// The state, and every Put and Delete in the log.
    All,
}

/// The collections that differ from the default, which is [`History::Latest`].
///
/// ```
/// # use aqevia_storage::{Collection, History, Schema};
/// let treaties = Collection::new("treaties")?;
/// let schema = Schema::new().with_history(treaties.clone(), History::All);
/// assert_eq!(schema.history(&treaties), History::All);
/// # Ok::<(), aqevia_storage::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    histories: BTreeMap<Collection, History>,
}

impl Schema {
    /// A schema that declares nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares the history of a collection; the last declaration of one counts.
    #[must_use]
    pub fn with_history(mut self, collection: Collection, history: History) -> Self {
        self.histories.insert(collection, history);
        self
    }

    /// The history of a collection.
    #[must_use]
    pub fn history(&self, collection: &Collection) -> History {
        self.histories.get(collection).copied().unwrap_or_default()
    }

    /// A hash that two schemas share only if they mean the same.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hasher = blake3::Hasher::new();
        for (collection, history) in &self.histories {
            if *history == History::All {
                hasher.update(collection.as_str().as_bytes());
                hasher.update(b"\0all\0");
            }
        }
        Fingerprint(*hasher.finalize().as_bytes())
    }
}

/// A hash of a [`Schema`], kept with each world by the writer that claimed it last.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fingerprint {}", blake3::Hash::from_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declaring_the_default_changes_no_fingerprint() {
        let fleets = Collection::new("fleets").unwrap();
        let latest = Schema::new().with_history(fleets.clone(), History::Latest);
        let all = Schema::new().with_history(fleets, History::All);
        assert_eq!(latest.fingerprint(), Schema::new().fingerprint());
        assert_ne!(all.fingerprint(), Schema::new().fingerprint());
    }
}
