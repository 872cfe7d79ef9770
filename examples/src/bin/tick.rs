//! Runs an engine at 60 ticks a second while its store fails, and measures its ticks:
//! `cargo run --release --bin tick -- --help`

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use examples::log::to_stderr;
use examples::replay::halt::Halt;
use examples::tick::harm::{HOLD_LOCK, hold_lock};
use examples::tick::json::json;
use examples::tick::options::{Fault, Options};
use examples::tick::plot::svg;
use examples::tick::report::Report;
use examples::tick::room;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() == Some(OsStr::new(HOLD_LOCK)) {
        let file = arguments.next().unwrap_or_default();
        return ended(hold_lock(Path::new(&file)));
    }
    let options = Options::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    if let Err(matter) = options.check() {
        say(&matter);
        return ExitCode::from(WRONG_ARGUMENTS);
    }
    to_stderr();
    if let Err(error) = make_plot(&options) {
        return ended(Err(error));
    }
    if options.fault == Fault::Full && !options.in_room {
        // In a store in files this goes on in a room of its own.
        if let Err(error) = enter_room(&options) {
            return ended(Err(error));
        }
    }
    match examples::tick::run(&options) {
        Ok(report) => match tell(&options, &report) {
            Ok(()) => ExitCode::from(report.exit_code()),
            Err(error) => ended(Err(error)),
        },
        Err(Halt::Signal(signal)) => {
            say(&format!("stopped by {}", signal.name()));
            ExitCode::from(signal.exit_code())
        }
        Err(Halt::Stream(error) | Halt::Store(error)) => ended(Err(error)),
    }
}

/// The exit code of `clap`, which would show the text of a URL that it refuses.
const WRONG_ARGUMENTS: u8 = 2;

fn enter_room(options: &Options) -> Result<()> {
    let url = options.config()?.url;
    match room::is_in_files(&url) {
        true => room::enter(&url),
        false => Ok(()),
    }
}

/// Makes the file that is written in the end, or leaves what is in it until then.
fn make_plot(options: &Options) -> Result<()> {
    if let Some(path) = &options.plot {
        let made = File::options().create(true).append(true).open(path);
        made.with_context(|| format!("--plot: write {}", path.display()))?;
    }
    Ok(())
}

fn tell(options: &Options, report: &Report) -> Result<()> {
    let mut out = io::stdout().lock();
    match options.json {
        true => writeln!(out, "{:#}", json(report))?,
        false => write!(out, "{report}")?,
    }
    out.flush()?;
    if let Some(path) = &options.plot {
        let written = std::fs::write(path, svg(report)?);
        written.with_context(|| format!("--plot: write {}", path.display()))?;
    }
    Ok(())
}

fn ended(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Nobody is left to tell when standard error is closed, too.
fn say(matter: &str) {
    drop(writeln!(io::stderr().lock(), "tick: {matter}"));
}
