//! What `certify` does: chooses the harness of a URL, runs the suite, writes the certificate.

use std::ffi::OsString;
use std::fs;
use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aqevia_storage::{Error, StoreUrl};
use clap::Args;
use conformance::Harness;
use conformance::certificate::{self, Certificate, OwnCheck, Plan};
use conformance::engines::memory::MemoryHarness;
use conformance::engines::postgres::{self, PostgresHarness};
use conformance::engines::sled::SledHarness;
use conformance::engines::sqlite::SqliteHarness;
use conformance::process::{self, Launcher};
use indicatif::{ProgressBar, ProgressStyle};

/// What a user asks for.
#[derive(Debug, Args)]
pub(crate) struct Certify {
    /// The engine, and where its stores are to be: `sqlite:DIR`, `sled:DIR`, `postgres://…`,
    /// `memory:`. The suite makes stores of its own there and removes them. Without a place,
    /// `sqlite:` and `sled:` take the system's folder for temporary files, and `postgres:` takes
    /// the server of `AQEVIA_TEST_POSTGRES_URL` or one in a container
    url: String,
    /// The folder of the certificate, which is two files: NAME.md and NAME.json
    #[arg(long, value_name = "DIR", default_value = KEPT)]
    out: PathBuf,
    /// Kills of the crash sweep, at least
    #[arg(long, value_name = "N", default_value_t = KILLS)]
    kills: u64,
    /// Generated histories
    #[arg(long, value_name = "N", default_value_t = HISTORIES)]
    histories: u32,
    /// The seed of everything that is random
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

impl Certify {
    /// A short run does not take the place of a certificate that is kept.
    fn check(&self) -> Result<(), String> {
        let short = self.kills < KILLS || self.histories < HISTORIES;
        match short && self.out == Path::new(KEPT) {
            true => Err(format!(
                "fewer than {KILLS} kills or {HISTORIES} histories are no certificate: give --out"
            )),
            false => Ok(()),
        }
    }
}

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/certificates");
const KILLS: u64 = 500;
const HISTORIES: u32 = 512;

/// What a child process finds in its arguments, before the scheme of its engine.
const CHILD: &str = "child";

/// The scheme, if this process is a child of `certify`.
pub(crate) fn child_scheme() -> Option<String> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next()?;
    (first == CHILD).then(|| arguments.next()).flatten()
}

/// Does the job of a child.
pub(crate) fn child(scheme: &str) -> ExitCode {
    let done = match scheme {
        "sqlite" => process::child::<SqliteHarness>(),
        "sled" => process::child::<SledHarness>(),
        "postgres" => process::child::<PostgresHarness>(),
        _ => false,
    };
    match done {
        true => ExitCode::SUCCESS,
        false => fail("there is no job for a child: run `conformance certify URL`"),
    }
}

/// Runs the suite, and says what came of it.
pub(crate) fn certify(arguments: &Certify) -> ExitCode {
    match run(arguments) {
        Ok(certificate) if certificate.holds() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(matter) => fail(&matter),
    }
}

fn run(arguments: &Certify) -> Result<Certificate, String> {
    let url: StoreUrl = arguments
        .url
        .parse()
        .map_err(|error: Error| error.to_string())?;
    arguments.check()?;
    let certificate = match url.scheme() {
        "memory" => certified::<MemoryHarness>(arguments, "memory", Vec::new()),
        "sqlite" => {
            place(&url)?;
            certified::<SqliteHarness>(arguments, "sqlite", Vec::new())
        }
        "sled" => {
            place(&url)?;
            certified::<SledHarness>(arguments, "sled", Vec::new())
        }
        "postgres" | "postgresql" => {
            if arguments.url != "postgres:" {
                postgres::test_on(arguments.url.clone());
            }
            certified::<PostgresHarness>(arguments, "postgres", postgres::own_checks())
        }
        scheme => {
            return Err(format!(
                "scheme {scheme:?} is not known; there are memory, postgres, sled, sqlite. The \
                 certificate of another backend is written by its own tests: see the README"
            ));
        }
    };
    write(&certificate, &arguments.out)?;
    Ok(certificate)
}

/// Puts the stores of the suite below the folder of a URL, if it names one.
fn place(url: &StoreUrl) -> Result<(), String> {
    let parameters = url.parameters().finish();
    parameters.map_err(|error| format!("{error}; stores are certified with their defaults"))?;
    let folder = url.path().map_err(|error| error.to_string())?;
    if folder.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(&folder).map_err(|error| format!("make {folder}: {error}"))?;
    let taken = tempfile::env::override_temp_dir(Path::new(&folder));
    taken.map_err(|other| format!("stores are already made in {}", other.display()))
}

fn certified<H: Harness>(arguments: &Certify, name: &str, own: Vec<OwnCheck>) -> Certificate {
    let program =
        std::env::current_exe().map_or_else(|_| OsString::from("conformance"), Into::into);
    let plan = Plan {
        store: name.to_owned(),
        launcher: Launcher::new(program, [CHILD, name]),
        kills: arguments.kills,
        histories: arguments.histories,
        seed: arguments.seed,
        own,
    };
    // What does not hold is in the certificate; on the way it would only tear the bar.
    std::panic::set_hook(Box::new(|_| {}));
    let bar = progress_bar(certificate::steps::<H>(&plan));
    let certificate = certificate::certify::<H>(&plan, &mut |step| {
        bar.set_message(step.to_owned());
        bar.inc(1);
    });
    bar.finish_and_clear();
    drop(std::panic::take_hook());
    certificate
}

fn progress_bar(steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    match ProgressStyle::with_template("{bar:40} {pos}/{len}, {eta} to go: {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn write(certificate: &Certificate, folder: &Path) -> Result<(), String> {
    let written = certificate.write_to(folder);
    let files = written.map_err(|error| format!("write to {}: {error}", folder.display()))?;
    for file in files {
        say(&format!("wrote {}", file.display()));
    }
    // Nobody is left to read it when standard output is closed.
    let _ = stdout().write_all(certificate.to_markdown().as_bytes());
    Ok(())
}

fn fail(matter: &str) -> ExitCode {
    say(matter);
    ExitCode::FAILURE
}

fn say(matter: &str) {
    let _ = writeln!(stderr(), "conformance: {matter}");
}
