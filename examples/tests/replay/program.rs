//! Runs the program in a folder of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// A folder with one SQLite store, in which the program runs.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("storage.sqlite")
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite:{}", self.store().display())
    }

    /// Writes a file and returns its path as text.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<String> {
        let path = self.path(name);
        std::fs::write(&path, content)?;
        Ok(path.display().to_string())
    }

    /// The program, with nothing in its environment that concerns it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replay"));
        for (name, _) in std::env::vars_os() {
            let shown = name.to_string_lossy();
            if shown.starts_with("AQEVIA_") || shown.starts_with("PERSIST_") {
                command.env_remove(name);
            }
        }
        command.env_remove("RUST_LOG").current_dir(self.0.path());
        command.args(arguments);
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Done> {
        let output = self.command(arguments).output()?;
        Ok(Done {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }

    /// Runs the program to an end without fault.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> Result<Done> {
        let done = self.run(arguments)?;
        ensure!(done.code == Some(0), "{arguments:?} failed: {done:?}");
        Ok(done)
    }

    /// What the store holds of the entities of a stream, as the program dumps it.
    pub(crate) fn dump(&self, input: &str, store: &str) -> Result<String> {
        let store = ["--store", store];
        let arguments = ["--input", input, "--resume", "--dump", "dump.jsonl"];
        self.succeed(&[&store[..], &arguments].concat())?;
        Ok(std::fs::read_to_string(self.path("dump.jsonl"))?)
    }
}

/// What a run of the program left behind.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// What the table says under a name.
    pub(crate) fn row(&self, name: &str) -> &str {
        let mut rows = self.stdout.lines();
        let row = rows.find_map(|line| line.trim_start().strip_prefix(name));
        row.unwrap_or_default().trim()
    }
}

/// The program while it runs. It tells on its standard error each turn it hands over.
pub(crate) struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        command.env("RUST_LOG", "replay=debug");
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().context("no standard error")?;
        let stderr = BufReader::new(stderr);
        Ok(Self { child, stderr })
    }

    /// Waits for a number of lines; `false` if it ended before.
    pub(crate) fn wait_for_lines(&mut self, count: usize) -> Result<bool> {
        let lines = (&mut self.stderr).lines().take(count);
        Ok(lines.collect::<Result<Vec<_>, _>>()?.len() == count)
    }

    /// Kills it at once. `false` if it had ended by itself.
    pub(crate) fn kill(mut self) -> Result<bool> {
        self.child.kill()?;
        Ok(self.child.wait()?.code().is_none())
    }

    /// Sends a signal by its name; the status, and what it says until its end.
    pub(crate) fn signal(mut self, name: &str) -> Result<(ExitStatus, String)> {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status()?;
        ensure!(sent.success(), "kill -s {name} {id}: {sent}");
        let mut said = String::new();
        self.stderr.read_to_string(&mut said)?;
        Ok((self.child.wait()?, said))
    }
}

/// The game that is shipped.
pub(crate) fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/freeciv-1207.jsonl.zst")
}
