//! The three counters of a world: sequence, epoch and batch number.

use std::fmt;

use crate::{Error, Result};

macro_rules! counter {
    ($(#[$docs:meta])* $name:ident, $noun:literal, $max:expr) => {
        $(#[$docs])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The value before the first one.
            pub const ZERO: Self = Self(0);
            /// The first value that is given out.
            pub const FIRST: Self = Self(1);
            /// The last value there is.
            pub const MAX: Self = Self($max);

            /// The counter at `value`.
            ///
            /// # Errors
            /// `Invalid` if `value` is past [`Self::MAX`].
            pub fn new(value: u64) -> Result<Self> {
                if value > Self::MAX.0 {
                    let max = Self::MAX.0;
                    return Err(Error::invalid(format!(
                        concat!($noun, " {} is past the largest there is, {}"),
                        value, max
                    )));
                }
                Ok(Self(value))
            }

            /// The value as a number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The value `count` further on.
            ///
            /// # Errors
            /// `Full` if that is past [`Self::MAX`].
            pub fn advance(self, count: u64) -> Result<Self> {
                Self::new(self.0.saturating_add(count)).map_err(|error| {
                    Error::new(crate::ErrorKind::Full, concat!("the ", $noun, "s are used up"))
                        .with_source(error)
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} {}", $noun, self.0)
            }
        }

        impl From<$name> for i64 {
            fn from(counter: $name) -> Self {
                // Invariant: MAX fits an i64, so the cast keeps the value.
                counter.0 as Self
            }
        }

        impl TryFrom<i64> for $name {
            type Error = Error;

            fn try_from(value: i64) -> Result<Self> {
                u64::try_from(value)
                    .map_err(|_| Error::invalid(format!(concat!($noun, " {} is negative"), value)))
                    .and_then(Self::new)
            }
        }
    };
}

counter!(
    /// A position in a world: every record of a persisted part takes the next one, from 1.
    ///
    /// Zero is the position before the first record, the head of an empty world. The largest is
    /// 2^40 − 1, about a million records a second for twelve days, or ten a second for 3,400 years.
    Sequence,
    "sequence",
    (1 << 40) - 1
);

impl Sequence {
    /// The sequence `count` further on, or the last there is.
    pub(crate) fn advance_saturating(self, count: u64) -> Self {
        Self(self.0.saturating_add(count).min(Self::MAX.0))
    }
}

counter!(
    /// A writer's fencing token: every claim of a world raises it by one, from 1.
    ///
    /// Zero is the epoch of a world that nobody has claimed.
    Epoch,
    "epoch",
    i64::MAX as u64
);

counter!(
    /// A writer's counter of the parts of a world, dense from 1 and going on across claims.
    ///
    /// Zero means that no part has been persisted.
    BatchNumber,
    "batch number",
    i64::MAX as u64
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_counter_holds_no_value_past_its_last() {
        assert!(Sequence::new(Sequence::MAX.get()).is_ok());
        let error = Sequence::new(Sequence::MAX.get() + 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(
            Sequence::MAX.advance(1).unwrap_err().kind(),
            ErrorKind::Full
        );
        assert_eq!(Epoch::try_from(-1).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(i64::from(Epoch::MAX), i64::MAX);
    }
}
