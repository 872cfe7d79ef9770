//! What a user asks for.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use aqevia::{StorageConfig, StoreUrl};
use clap::Parser;
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::play::{Acknowledge, Play, Start};

/// Plays a recorded game as an engine would, persists it turn by turn, and checks what is stored.
///
/// Each turn of a world is one group: it is in the store as a whole or not at all. At the end the
/// store is closed, opened again and compared with the stream. A store that was left behind by a
/// replay that ended early, even by `kill -9`, is completed with --resume.
///
/// In memory are one turn of each world, what the controller has not persisted yet (at most
/// `PERSIST_MAX_PENDING_BYTES`), and for the comparison 40 to 80 bytes for each live entity.
#[derive(Clone, Debug, Parser)]
#[command(name = "replay", after_long_help = EXIT_CODES)]
pub struct Options {
    /// The recorded game, plain or compressed with zstd; without it, the one in examples/data
    #[arg(
        long,
        value_name = "FILE",
        value_parser = PathBufValueParser::new().try_map(no_url),
        default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/data/freeciv-1207.jsonl.zst"),
        hide_default_value = true
    )]
    pub input: PathBuf,
    /// The store, as `sqlite:FILE`; without it, as `AQEVIA_STORAGE_URL` and `AQEVIA_SQLITE_PATH`
    /// say, else `sqlite:storage.sqlite`. The `PERSIST_` variables count in any case
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// Hand over turns without waiting for any; flush at the end and when the buffer is full
    #[arg(long)]
    pub fire_and_forget: bool,
    /// Play so many turns a second at most
    #[arg(long, value_name = "TURNS_PER_S", value_parser = parse_rate)]
    pub rate: Option<Rate>,
    /// Go on behind the last turn that is stored of each world
    #[arg(long)]
    pub resume: bool,
    /// At the end, write what is stored of each entity to FILE, one line of JSON each
    #[arg(long, value_name = "FILE", value_parser = PathBufValueParser::new().try_map(no_url))]
    pub dump: Option<PathBuf>,
}

const EXIT_CODES: &str = "\
Exit codes: 0 if the whole stream is stored and nothing differs; 1 if something differs or failed;
2 if the arguments are wrong; 130 after SIGINT and 143 after SIGTERM, with whole turns stored, or 1
if they could not be.";

/// A number of turns a second, more than none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    every: Duration,
}

/// The longest time between two turns: a year.
const EVERY_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

fn parse_rate(text: &str) -> Result<Rate, String> {
    let turns_per_s = text.parse::<f64>().ok();
    let turns_per_s = turns_per_s.filter(|turns| turns.is_finite() && *turns > 0.0);
    let turns_per_s = turns_per_s.ok_or("must be a number greater than zero, as 2 or 0.5")?;
    let every = Duration::try_from_secs_f64(turns_per_s.recip()).unwrap_or(EVERY_MAX);
    let every = every.min(EVERY_MAX);
    Ok(Rate { every })
}

/// A path whose file may be named in messages.
pub(crate) fn no_url(path: PathBuf) -> Result<PathBuf, &'static str> {
    match path.to_string_lossy().contains("://") {
        true => Err("is a URL, not a file; the URL of a store follows --store"),
        false => Ok(path),
    }
}

/// Takes out of an error what was given: a URL in the wrong place may have a password in it.
pub(crate) fn without_values(mut error: clap::Error) -> clap::Error {
    let hidden = || ContextValue::String("…".to_owned());
    let given = |error: &clap::Error, kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    if !given(&error, ContextKind::InvalidValue).is_empty() {
        error.insert(ContextKind::InvalidValue, hidden());
    }
    if error.kind() == ErrorKind::UnknownArgument {
        if !is_option(&given(&error, ContextKind::InvalidArg)) {
            error.insert(ContextKind::InvalidArg, hidden());
        }
        let tip = vec!["the URL of a store follows '--store'".into()];
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tip));
    }
    error
}

/// Whether a text is the name of an option, right or wrong, and no value.
fn is_option(text: &str) -> bool {
    let name = text.strip_prefix("--").unwrap_or_default();
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '-')
}

impl Options {
    /// Reads the arguments of a program, its name first.
    ///
    /// # Errors
    /// What is wrong with them, or the help that they ask for. No value is shown.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(arguments).map_err(without_values)
    }

    /// How the engine plays.
    #[must_use]
    pub fn play(&self) -> Play {
        Play {
            acknowledge: match self.fire_and_forget {
                true => Acknowledge::End,
                false => Acknowledge::EachTurn,
            },
            start: match self.resume {
                true => Start::Stored,
                false => Start::First,
            },
            every: self.rate.map(|rate| rate.every),
        }
    }

    /// The store and the settings of the controller.
    ///
    /// # Errors
    /// Those of [`StorageConfig::from_env`].
    pub fn config(&self) -> aqevia::Result<StorageConfig> {
        let mut config = StorageConfig::from_env()?;
        if let Some(url) = &self.store {
            config.url = url.parse()?;
        }
        Ok(config)
    }

    /// Refuses a store whose URL is not one, in words that do not show its password.
    ///
    /// # Errors
    /// Those of the URL.
    pub fn check(&self) -> aqevia::Result<()> {
        let url = self.store.as_deref().map(str::parse::<StoreUrl>);
        url.transpose().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_greater_than_zero() {
        let every = |text| parse_rate(text).map(|rate| rate.every);
        assert_eq!(every("0.5"), Ok(Duration::from_secs(2)));
        assert_eq!(every("1e-300"), Ok(EVERY_MAX));
        assert_eq!(every("1e300"), Ok(Duration::ZERO));
        for bad in ["0", "-0", "-1", "nan", "inf", "", "fast"] {
            assert!(parse_rate(bad).is_err(), "{bad:?}");
        }
    }
}
