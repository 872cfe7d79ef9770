//! Plays a recorded game into a store as an engine would, and checks what is stored:
//! `cargo run --release --bin replay -- --help`

use std::io::{self, Write};
use std::process::ExitCode;

use examples::log::to_stderr;
use examples::replay::halt::Halt;
use examples::replay::options::Options;
use examples::replay::report::Report;

fn main() -> ExitCode {
    let options = Options::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    if let Err(error) = options.check() {
        say(&format!("--store: {error}"));
        return ExitCode::from(WRONG_ARGUMENTS);
    }
    to_stderr();
    match examples::replay::run(&options) {
        Ok(report) => match print(&report) {
            Ok(()) => ExitCode::from(report.exit_code()),
            Err(error) => fail(&format!("write to standard output: {error}")),
        },
        Err(Halt::Signal(signal)) => {
            say(&format!("stopped by {}", signal.name()));
            ExitCode::from(signal.exit_code())
        }
        Err(Halt::Stream(error) | Halt::Store(error)) => fail(&format!("{error:#}")),
    }
}

/// The exit code of `clap`, which would show the text of a URL that it refuses.
const WRONG_ARGUMENTS: u8 = 2;

fn print(report: &Report) -> io::Result<()> {
    if report.played.turns + report.played.skipped > 0 {
        let mut out = io::stdout().lock();
        write!(out, "{report}")?;
        out.flush()?;
    }
    if let Some(farewell) = report.farewell() {
        say(&farewell);
    }
    Ok(())
}

fn fail(matter: &str) -> ExitCode {
    say(matter);
    ExitCode::FAILURE
}

/// Nobody is left to tell when standard error is closed, too.
fn say(matter: &str) {
    drop(writeln!(io::stderr().lock(), "replay: {matter}"));
}
