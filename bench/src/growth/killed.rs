//! A child process that commits, and is killed in the middle of that.

use std::env;
use std::io::{BufRead, BufReader, Lines, Write, stdout};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::{PAYLOAD_BYTES, ROWS};
use crate::ours::Ours;
use crate::side::Persist;
use crate::workload::{Mix, Workload};

/// After so many commits it is killed: enough for all the engines to have a log to recover.
const COMMITS: usize = 20;

/// A child in the middle of a commit. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Committing {
    child: Child,
    /// Kept, so that the child does not end because nobody listens.
    told: Lines<BufReader<ChildStdout>>,
}

impl Committing {
    /// Starts a child on the store of a URL, and waits until it is in the middle of a commit.
    pub(crate) async fn start(url: &str) -> Result<Self> {
        let program = env::current_exe().context("find this program")?;
        let mut child = Command::new(program)
            .args(["--commit-to", url])
            .stdout(Stdio::piped())
            .spawn()
            .context("start a child")?;
        let told = child.stdout.take().context("the child has no output")?;
        let told = BufReader::new(told).lines();
        let child = Self { child, told };
        let (child, commit) = spawn_blocking(|| child.listen()).await??;
        sleep(commit / 2).await;
        Ok(child)
    }

    /// Waits for the last of the commits, and tells how long it took.
    fn listen(mut self) -> Result<(Self, Duration)> {
        let mut begin = Instant::now();
        for _ in 0..COMMITS {
            begin = Instant::now();
            self.told.next().context("the child ended by itself")??;
        }
        Ok((self, begin.elapsed()))
    }
}

impl Drop for Committing {
    fn drop(&mut self) {
        // They fail if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the child does: commits, and tells of each, until it is killed or nobody listens.
pub(crate) async fn commit_to(url: &str) -> Result<()> {
    let mut ours = Ours::open(url).await?;
    let mut workload = Workload::new(Mix::Events, PAYLOAD_BYTES, false);
    loop {
        let group = ours.form(&workload.batch(ROWS))?;
        ours.persist(group).await?;
        let mut told = stdout().lock();
        writeln!(told, "committed")?;
        told.flush()?;
    }
}
