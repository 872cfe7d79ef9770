//! What `certify` does: chooses the harness of a URL, runs the suite, writes the certificate.

use std::ffi::OsString;
use std::fs;
use std::io::{Write, stdout};
use std::panic::{self, PanicHookInfo};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aqevia_storage::{Error, StoreUrl};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use conformance::Harness;
use conformance::certificate::{self, Certificate, HISTORIES, KILLS, OwnCheck, Plan};
use conformance::engines::memory::MemoryHarness;
use conformance::engines::postgres::{self, PostgresHarness};
use conformance::engines::sled::SledHarness;
use conformance::engines::sqlite::SqliteHarness;
use conformance::process::{self, Launcher};
use tempfile::TempDir;

use crate::interrupt::clean_up_on_signals;
use crate::showing::{Showing, say};

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
    /// Kills of the crash sweep, and of the controller sweep
    #[arg(long, value_name = "N", default_value_t = KILLS, value_parser = from_one::<u64>())]
    kills: u64,
    /// Generated histories
    #[arg(long, value_name = "N", default_value_t = HISTORIES, value_parser = from_one::<u32>())]
    histories: u32,
    /// The seed of everything that is random
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

fn from_one<T: TryFrom<u64> + Clone + Send + Sync>() -> RangedU64ValueParser<T> {
    RangedU64ValueParser::new().range(1..)
}

impl Certify {
    /// Makes the folder of the certificate and sees that files can be made in it. A short run does
    /// not take the place of a certificate that is kept.
    fn check_out(&self) -> Result<(), String> {
        let out = self.out.display();
        fs::create_dir_all(&self.out).map_err(|error| format!("make {out}: {error}"))?;
        let probe = tempfile::NamedTempFile::new_in(&self.out);
        probe.map_err(|error| format!("write to {out}: {error}"))?;
        let is_kept = match (self.out.canonicalize(), Path::new(KEPT).canonicalize()) {
            (Ok(out), Ok(kept)) => out == kept,
            _ => false,
        };
        match certificate::shortness(self.kills, self.histories) {
            Some(short) if is_kept => Err(format!(
                "a short run ({short}) is no certificate: give another folder than {out} by --out"
            )),
            _ => Ok(()),
        }
    }
}

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/certificates");

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
    let certificate = match url.scheme() {
        "memory" => {
            check_without_place(&url)?;
            in_folder::<MemoryHarness>(arguments, "memory", "", Vec::new())
        }
        "sqlite" => in_folder::<SqliteHarness>(arguments, "sqlite", &place(&url)?, Vec::new()),
        "sled" => in_folder::<SledHarness>(arguments, "sled", &place(&url)?, Vec::new()),
        "postgres" | "postgresql" => {
            if check_without_place(&url).is_err() {
                postgres::test_on(arguments.url.clone())?;
            }
            // A certificate without the checks that need it is none.
            postgres::look_for_engine()?;
            in_folder::<PostgresHarness>(arguments, "postgres", "", postgres::own_checks())
        }
        scheme => {
            return Err(format!(
                "scheme {scheme:?} is not known; there are memory, postgres, sled, sqlite. The \
                 certificate of another backend is written by its own tests: see the README"
            ));
        }
    }?;
    write(&certificate, &arguments.out)?;
    Ok(certificate)
}

fn check_without_parameters(url: &StoreUrl) -> Result<(), String> {
    let parameters = url.parameters().finish();
    parameters.map_err(|error| format!("{error}; stores are certified with their defaults"))
}

fn check_without_place(url: &StoreUrl) -> Result<(), String> {
    check_without_parameters(url)?;
    match url.location() {
        Ok(location) if location.is_empty() => Ok(()),
        _ => Err(format!(
            "store URL {url}: these stores have no place: write `{}:`",
            url.scheme()
        )),
    }
}

/// The folder of a URL in which the suite is to make its stores; empty if it names none.
fn place(url: &StoreUrl) -> Result<String, String> {
    check_without_parameters(url)?;
    let folder = url.path().map_err(|error| error.to_string())?;
    match folder.as_str() {
        ":memory:" => Err(format!(
            "store URL {url}: stores in files are certified, in a folder: write `{}:DIR`, or \
             `memory:` for the backend that keeps all in memory",
            url.scheme()
        )),
        _ => Ok(folder),
    }
}

/// Certifies with all stores in a folder of this run, which ends with it.
fn in_folder<H: Harness>(
    arguments: &Certify,
    name: &str,
    place: &str,
    own: Vec<OwnCheck>,
) -> Result<Certificate, String> {
    arguments.check_out()?;
    let folder = run_folder(place)?;
    let taken = tempfile::env::override_temp_dir(folder.path());
    taken.map_err(|other| format!("stores are already made in {}", other.display()))?;
    let ready = clean_up_on_signals(folder.path());
    ready.map_err(|error| format!("listen for signals: {error}"))?;
    certified::<H>(arguments, name, own)
}

/// Makes the folder of a run below a place, which is made as well, or below the system's folder for
/// temporary files.
fn run_folder(place: &str) -> Result<TempDir, String> {
    let place = match place {
        "" => std::env::temp_dir(),
        place => {
            fs::create_dir_all(place).map_err(|error| format!("make {place}: {error}"))?;
            PathBuf::from(place)
        }
    };
    let prefix = format!("aqevia-certify-{}-", std::process::id());
    let folder = place.canonicalize().and_then(|place| {
        let mut folder = tempfile::Builder::new();
        folder.prefix(&prefix).tempdir_in(place)
    });
    folder.map_err(|error| format!("make a folder in {}: {error}", place.display()))
}

fn certified<H: Harness>(
    arguments: &Certify,
    name: &str,
    own: Vec<OwnCheck>,
) -> Result<Certificate, String> {
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
    let _quiet = Quiet::new();
    let mut showing = Showing::new(certificate::steps::<H>(&plan)?);
    let certificate = certificate::certify::<H>(&plan, &mut |progress| showing.show(progress));
    showing.end();
    certificate
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// Keeps panics silent: what does not hold is in the certificate, and on the way it would only tear
/// the bar.
struct Quiet(Option<Hook>);

impl Quiet {
    fn new() -> Self {
        let before = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        Self(Some(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A thread that panics may not set it.
        if let Some(before) = self.0.take()
            && !std::thread::panicking()
        {
            panic::set_hook(before);
        }
    }
}

/// Prints the certificate first: it is not lost where its files cannot be written.
fn write(certificate: &Certificate, folder: &Path) -> Result<(), String> {
    // Nobody is left to read it when standard output is closed.
    let _ = stdout().write_all(certificate.to_markdown().as_bytes());
    let written = certificate.write_to(folder);
    let files = written.map_err(|error| format!("write to {}: {error}", folder.display()))?;
    for file in files {
        say(&format!("wrote {}", file.display()));
    }
    Ok(())
}

fn fail(matter: &str) -> ExitCode {
    say(matter);
    ExitCode::FAILURE
}
