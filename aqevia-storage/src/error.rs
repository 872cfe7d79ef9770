//! What can go wrong, told by what the caller does next.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What happened, in terms of what the caller does now (clause E1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store cannot be reached, is busy or read-only. Nothing was written. Try again later.
    Unavailable,
    /// The store gave no definite answer to a write. It may have been written or not. Persist the
    /// same part again: clause P5 makes that harmless.
    Ambiguous,
    /// The store has no room. Nothing was written. Make room, and try again more slowly.
    Full,
    /// A rule of the engine's own schema forbids the group. Nothing of it was written. Correct the
    /// group; a backend never answers this.
    Rejected,
    /// Another writer has claimed the world. Nothing was written. Stop writing to this world; open
    /// it again only if taking it over is meant.
    Fenced,
    /// The store holds data that cannot be right. Nothing was written. Restore it from a copy, or
    /// have it examined.
    Corrupt,
    /// The store is of another layout, or is not ours. Nothing was written. Use the version or the
    /// path that the message names.
    Incompatible,
    /// The call itself is wrong. Nothing was written. Correct the call, as the message says.
    Invalid,
    /// The backend, as built or configured, cannot do this. Nothing was written. Choose another
    /// backend, feature or setting.
    Unsupported,
    /// The buffer is full. The records were not accepted and are handed back. Slow down, and
    /// submit them again.
    Backpressure,
    /// The store or the controller has been closed. Nothing was written. Open it again.
    Closed,
}

impl ErrorKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 11] = [
        Self::Unavailable,
        Self::Ambiguous,
        Self::Full,
        Self::Rejected,
        Self::Fenced,
        Self::Corrupt,
        Self::Incompatible,
        Self::Invalid,
        Self::Unsupported,
        Self::Backpressure,
        Self::Closed,
    ];

    /// The kind in lower case, as it stands in logs and in the labels of metrics: `unavailable`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Ambiguous => "ambiguous",
            Self::Full => "full",
            Self::Rejected => "rejected",
            Self::Fenced => "fenced",
            Self::Corrupt => "corrupt",
            Self::Incompatible => "incompatible",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Backpressure => "backpressure",
            Self::Closed => "closed",
        }
    }

    /// Whether the same call may succeed later without anything being corrected.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::Ambiguous | Self::Full | Self::Backpressure
        )
    }
}

/// An error: its kind, what was being done to what and what is the matter, and its source.
///
/// Neither `Display` nor `Debug` shows a payload or a password (clause E2). `Display` is the
/// message alone; `Debug` adds the kind and the sources, for a `main` that returns this error.
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    message: Arc<str>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`. The message says what was being done to what, and what is the matter.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: Arc::from(message.into()),
            source: None,
        }
    }

    /// A call that is wrong in itself: [`ErrorKind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Data read back that cannot be right: [`ErrorKind::Corrupt`].
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// Something closed before: [`ErrorKind::Closed`].
    pub fn closed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Closed, message)
    }

    /// Keeps the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Puts what was being done before the message: `persist batch 17 of world "arda": …`.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = Arc::from(format!("{doing}: {}", self.message));
        self
    }

    /// What the caller does next.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)?;
        let mut source = self.source();
        while let Some(cause) = source {
            write!(f, "; caused by: {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_kind_message_and_sources() {
        let error = Error::invalid("key is empty")
            .with_source(std::io::Error::other("deeper"))
            .context("record in world \"arda\"");
        assert_eq!(error.to_string(), "record in world \"arda\": key is empty");
        assert_eq!(
            format!("{error:?}"),
            "Invalid: record in world \"arda\": key is empty; caused by: deeper"
        );
    }

    #[test]
    fn a_kind_is_named_as_it_is_declared() {
        for kind in ErrorKind::ALL {
            assert_eq!(kind.name(), format!("{kind:?}").to_lowercase());
        }
    }

    #[test]
    fn all_holds_each_kind_once_in_order() {
        assert!(ErrorKind::ALL.is_sorted_by(|a, b| a < b));
        assert_eq!(ErrorKind::Closed as usize + 1, ErrorKind::ALL.len());
    }
}
