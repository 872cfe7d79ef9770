//! Why a replay ends before its stream does.

use aqevia::{Error, Refused, Unflushed};

/// What ended a replay early. What was stored until then stays stored, in whole turns.
#[derive(Debug)]
pub enum Halt {
    /// A signal asked for it.
    Signal(Signal),
    /// The stream cannot be read on.
    Stream(anyhow::Error),
    /// The store, or what was asked for, does not allow it.
    Store(anyhow::Error),
}

/// A signal that ends the program in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGINT`, as by Ctrl-C.
    Interrupt,
    /// `SIGTERM`.
    Terminate,
}

impl Signal {
    /// The name of the signal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        }
    }

    /// The exit code of a program that this signal ended: 128 and the number of the signal.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<Refused> for Halt {
    fn from(refused: Refused) -> Self {
        Self::Store(refused.error.into())
    }
}

impl From<Unflushed> for Halt {
    fn from(unflushed: Unflushed) -> Self {
        Self::Store(unflushed.into())
    }
}
