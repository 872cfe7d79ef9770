//! How much memory reading takes: in a process of its own, which has read nothing before.

use std::env;
use std::fs;

use anyhow::{Context, Result, ensure};
use aqevia::{ControllerConfig, WorldId};
use tokio::process::Command;

use crate::load::What;
use crate::ours::{self, WORLD};

/// The bytes that a process of its own needs at most to read from the store of a URL.
pub(crate) async fn of(what: What, url: &str) -> Result<u64> {
    let mut child = Command::new(env::current_exe()?);
    let output = child.args(["--peak-of", what.name(), url]).output().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "measuring memory: {errors}");
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// Reads, and tells how far the memory of this process rose from when the world was open.
pub(crate) async fn measure(what: What, url: &str) -> Result<u64> {
    let controller = ours::start(url, ControllerConfig::default()).await?;
    let world = controller.open_world(WorldId::new(WORLD)?).await?;
    // This lowers the peak to what there is.
    fs::write("/proc/self/clear_refs", "5")?;
    let before = peak()?;
    what.page_through(&controller, world.id()).await?;
    let rise = peak()? - before;
    controller.shutdown().await?;
    Ok(rise)
}

/// The most memory that this process has had.
fn peak() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib
        .context("the system does not tell the peak of memory")?
        .parse()?;
    Ok(kib * 1024)
}
