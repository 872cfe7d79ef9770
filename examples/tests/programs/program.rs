//! A program that serves until it is told to stop.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};

/// A program to be run, without the settings of whoever runs the tests.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let shown = name.to_string_lossy();
        if shown.starts_with("AQEVIA_") || shown.starts_with("PERSIST_") {
            command.env_remove(name);
        }
    }
    command
}

/// A running program, which is killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    /// Where it listens.
    pub(crate) address: String,
}

impl Program {
    /// Starts a program on a store, and waits until it listens. It logs from a level on.
    pub(crate) fn start(program: &str, url: &str, level: &str) -> Result<Self> {
        let mut child = command(program)
            .args([url, "127.0.0.1:0"])
            .env("RUST_LOG", format!("aqevia_storage={level}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ");
        let address = address.context("it does not listen")?.to_owned();
        Ok(Self { child, address })
    }

    /// Stops it as Ctrl-C does; what it logged.
    pub(crate) fn stop(mut self) -> Result<String> {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", "INT", &id]).status()?;
        ensure!(sent.success(), "kill -s INT {id}: {sent}");
        let (status, logged) = self.wait()?;
        ensure!(status.success(), "{status}: {logged}");
        Ok(logged)
    }

    /// Waits until it ends by itself; how, and what it logged.
    pub(crate) fn wait(&mut self) -> Result<(ExitStatus, String)> {
        let mut logged = String::new();
        let stderr = self.child.stderr.as_mut().context("no standard error")?;
        stderr.read_to_string(&mut logged)?;
        Ok((self.child.wait()?, logged))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
