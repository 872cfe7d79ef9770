//! What a user asks for.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use aqevia::{StorageConfig, StoreUrl};
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue};
use clap::{Parser, ValueEnum};

use crate::replay::options::{no_url, without_values};

/// Runs an engine at 60 ticks a second while its store fails, and shows that no tick waits for it.
///
/// The engine has one world of entities, changes some of them each tick, marks them as dirty and
/// tells events of a few. After a while a fault befalls the store, and ends. When the controller has
/// recovered and the engine has gone on for another while, all is saved, the store is closed, opened
/// again, and every entity and event compared.
#[derive(Clone, Debug, Parser)]
#[command(name = "tick", after_long_help = FAULTS)]
pub struct Options {
    /// The store, as `sqlite:FILE`. Each run adds a world of its own
    #[arg(long, value_name = "URL", default_value = "sqlite:tick.sqlite")]
    pub store: String,
    /// What befalls the store
    #[arg(long, value_name = "NAME", default_value = "none")]
    pub fault: Fault,
    /// For how long the engine runs before
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds, allow_negative_numbers = true)]
    pub before: Duration,
    /// How long the fault lasts
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds, allow_negative_numbers = true)]
    pub lasts: Duration,
    /// For how long the engine runs on after the controller has recovered
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds, allow_negative_numbers = true)]
    pub after: Duration,
    /// How many entities there are
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true, default_value = "20000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub entities: u32,
    /// How many of them change each tick
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true, default_value = "2000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub dirty: u32,
    /// How many events are told each tick
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true, default_value = "20", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub events: u32,
    /// How often what is dirty is captured, in milliseconds; unless given, 500 or what
    /// `PERSIST_AUTO_SAVE_INTERVAL_MS` says
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    pub auto_save: Option<u32>,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// Draw tick time, pending records, exposure and memory over time, as SVG
    #[arg(
        long,
        value_name = "FILE",
        value_parser = PathBufValueParser::new().try_map(no_url)
    )]
    pub plot: Option<PathBuf>,
    /// Set where the store's folder is a small file system already
    #[arg(long, hide = true)]
    pub in_room: bool,
}

const FAULTS: &str = "\
Faults:
  none   nothing
  lock   another process holds the write lock of the SQLite file
  full   the disk is full; the folder of the store, which has to be empty, becomes a small file system
         that ends with the program (Linux, as root or with user name spaces). The container of a
         Postgres server needs a small file system for its data and another for its log
  pause  the container of the Postgres server is paused
  kill   the container is killed, and started again

The container is the one that publishes the URL's port on this machine, as after
  docker run -d -p 5433:5432 -e POSTGRES_PASSWORD=secret postgres:17-alpine
The program calls `docker`. A server that does not answer is waited for, and counts as a failure after
the URL's `reply_timeout_ms` only.

Exit codes: 0 if the controller recovered and all is stored, once; 1 if not, or if something failed;
2 if the arguments are wrong; 130 after SIGINT and 143 after SIGTERM, which end a run with the report
of what was measured so far. Times are no reason to fail.";

/// What befalls a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Nothing.
    None,
    /// Another process holds the write lock.
    Lock,
    /// The disk is full.
    Full,
    /// The server is paused.
    Pause,
    /// The server is killed, and comes back.
    Kill,
}

impl Fault {
    /// The name by which a user asks for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lock => "lock",
            Self::Full => "full",
            Self::Pause => "pause",
            Self::Kill => "kill",
        }
    }
}

/// The longest of the times that may be given.
const SECONDS_MAX: f64 = 86_400.0;

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok();
    let seconds = seconds.filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds));
    let seconds = seconds.ok_or("must be a number of seconds from 0 to 86400, as 10 or 0.5")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// How often dirty entities are captured, unless somebody says otherwise.
const AUTO_SAVE: Duration = Duration::from_millis(500);
/// For how long the end may take: the fault is over then.
const SHUTDOWN: Duration = Duration::from_secs(60);

impl Options {
    /// Reads the arguments of a program, its name first.
    ///
    /// # Errors
    /// What is wrong with them, or the help that they ask for. No value is shown that may be a URL.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(arguments).map_err(|error| match shows_no_url(&error) {
            true => error,
            false => without_values(error),
        })
    }

    /// The store and the settings of the controller.
    ///
    /// # Errors
    /// Those of [`StorageConfig::from_env`] and of the URL.
    pub fn config(&self) -> aqevia::Result<StorageConfig> {
        let mut config = StorageConfig::from_env()?;
        config.url = self.store.parse()?;
        let controller = &mut config.controller;
        controller.shutdown_timeout = controller.shutdown_timeout.max(SHUTDOWN);
        if std::env::var_os("PERSIST_AUTO_SAVE_INTERVAL_MS").is_none() {
            controller.auto_save_interval = AUTO_SAVE;
        }
        if let Some(ms) = self.auto_save {
            controller.auto_save_interval = Duration::from_millis(u64::from(ms));
        }
        Ok(config)
    }

    /// Refuses a store whose URL is not one, or that the fault cannot befall, and more changes a
    /// tick than there are entities.
    ///
    /// # Errors
    /// What is wrong, without the URL's password, and what to do.
    pub fn check(&self) -> Result<(), String> {
        let (dirty, entities) = (self.dirty, self.entities);
        if dirty > entities {
            return Err(format!(
                "--dirty {dirty}: no more can change each tick than there are, and --entities is \
                 {entities}"
            ));
        }
        let url: StoreUrl = self
            .store
            .parse()
            .map_err(|error| format!("--store: {error}"))?;
        let (scheme, fault) = (url.scheme(), self.fault.name());
        let advice = match (self.fault, scheme) {
            (_, "null") => "a null store keeps nothing that could be compared; name another store",
            (Fault::None, _)
            | (Fault::Lock, "sqlite")
            | (Fault::Full, "sqlite" | "sled")
            | (Fault::Full | Fault::Pause | Fault::Kill, "postgres" | "postgresql") => "",
            (Fault::Lock, _) => {
                "only SQLite has a write lock; name a store like sqlite:tick.sqlite"
            }
            (Fault::Full, _) => "this store is on no disk; name one like sqlite:small/tick.sqlite",
            (Fault::Pause | Fault::Kill, _) => {
                "only a server can be paused or killed; name a store like \
                 postgres://postgres:secret@localhost:5433/postgres"
            }
        };
        if advice.is_empty() && is_in_memory(&url) && self.fault != Fault::None {
            return Err(format!(
                "--fault {fault}: this store is in memory; name one in a file"
            ));
        }
        match advice {
            "" => Ok(()),
            advice => Err(format!("--fault {fault}: {advice}")),
        }
    }
}

/// Whether an error is about a value that is no URL, nor a part of one.
fn shows_no_url(error: &clap::Error) -> bool {
    match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => !value.contains([':', '/', '@', '%']),
        _ => false,
    }
}

fn is_in_memory(url: &StoreUrl) -> bool {
    url.scheme() == "memory" || url.location().is_ok_and(|location| location == ":memory:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(store: &str, fault: &str) -> Result<(), String> {
        let options = Options::try_parse_from(["tick", "--store", store, "--fault", fault]);
        options.unwrap().check()
    }

    #[test]
    fn a_fault_that_cannot_befall_a_store_is_refused_with_advice() {
        let server = "postgres://user:secret@localhost:5433/worlds";
        for (store, fault) in [
            ("sqlite:a.sqlite", "none"),
            ("sqlite:a.sqlite", "lock"),
            ("sqlite:a/a.sqlite", "full"),
            ("sled:a", "full"),
            (server, "full"),
            (server, "pause"),
            (server, "kill"),
            ("memory:", "none"),
        ] {
            assert_eq!(checked(store, fault), Ok(()), "{store} {fault}");
        }
        for (store, fault, said) in [
            ("sqlite:a.sqlite", "pause", "name a store like postgres:"),
            ("sqlite:a.sqlite", "kill", "name a store like postgres:"),
            ("sled:a", "lock", "name a store like sqlite:"),
            ("memory:", "full", "on no disk"),
            ("sqlite::memory:", "lock", "name one in a file"),
            ("null:", "none", "keeps nothing"),
            ("nothing", "none", "--store"),
        ] {
            let refused = checked(store, fault).unwrap_err();
            assert!(refused.contains(said), "{refused}");
            assert!(
                !refused.contains("secret@localhost:5433/worlds"),
                "{refused}"
            );
        }
    }

    fn refused(arguments: &[&str]) -> String {
        let arguments = [&["tick"], arguments].concat();
        let read = Options::read(arguments.into_iter().map(OsString::from));
        read.unwrap_err().to_string()
    }

    #[test]
    fn a_number_that_does_not_do_is_named_with_its_option() {
        for option in [
            "before",
            "lasts",
            "after",
            "entities",
            "dirty",
            "events",
            "auto-save",
        ] {
            let said = refused(&[&format!("--{option}"), "-1"]);
            assert!(
                said.contains("invalid value '-1'") && said.contains(&format!("--{option}")),
                "{said}"
            );
        }
        let said = refused(&["--fault", "fire"]);
        assert!(said.contains("'fire'") && said.contains("pause"), "{said}");
    }

    #[test]
    fn what_may_be_a_url_is_not_shown() {
        for arguments in [
            &["--before", "postgres://u:secret@host/d"][..],
            &["--fault", "u:secret"],
            &["--fault", "secret@host"],
            &["--fault", "u%3Asecret"],
            &["--plot", "postgres://u:secret@host/d"],
            &["postgres://u:secret@host/d"],
            &["secret"],
            &["--secret@host"],
        ] {
            let said = refused(arguments);
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn no_more_entities_change_than_there_are() {
        let read = |dirty| Options::try_parse_from(["tick", "--entities", "10", "--dirty", dirty]);
        assert_eq!(read("10").unwrap().check(), Ok(()));
        let refused = read("11").unwrap().check().unwrap_err();
        assert!(refused.contains("--entities is 10"), "{refused}");
    }

    #[test]
    fn times_are_numbers_of_seconds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["-1", "nan", "inf", "86401", "soon", ""] {
            assert!(seconds(bad).is_err(), "{bad:?}");
        }
    }
}
