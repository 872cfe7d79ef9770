//! A small file system for the folder of a store, and what takes all its room.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use aqevia::StoreUrl;

/// More than a store takes up in a few minutes.
const ROOM_BYTES: u64 = 256 << 20;

/// Whether a store is in files, and not kept by a server.
#[must_use]
pub fn is_in_files(url: &StoreUrl) -> bool {
    matches!(url.scheme(), "sqlite" | "sled")
}

/// The folder of a store in files.
///
/// # Errors
/// If the URL names none.
pub fn folder_of(url: &StoreUrl) -> Result<PathBuf> {
    let path = PathBuf::from(url.path()?);
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.context(
        "--fault full: the folder of the store becomes a small file system; name a store in an \
         empty folder, like sqlite:small/tick.sqlite",
    )?;
    Ok(folder.to_owned())
}

/// Runs this program again, in place of this process, with a small file system mounted on the
/// folder of its store, which nobody else sees and which ends with it.
///
/// # Errors
/// If the folder is not empty, or if this system lets nobody mount one. Else this does not return.
pub fn enter(url: &StoreUrl) -> Result<()> {
    let folder = folder_of(url)?;
    fs::create_dir_all(&folder).with_context(|| format!("make folder {}", folder.display()))?;
    let is_empty = fs::read_dir(&folder)?.next().is_none();
    let shown = folder.display();
    ensure!(
        is_empty,
        "--fault full: folder {shown} is not empty; name a store in an empty one"
    );
    let program = std::env::current_exe().context("find this program")?;
    let mut said = Vec::new();
    for way in [
        &["--mount"][..],
        &["--user", "--map-root-user", "--mount"][..],
    ] {
        let tried = inside(way, &folder).arg("true").output();
        match tried {
            Ok(output) if output.status.success() => {
                let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
                let mut again = inside(way, &folder);
                again.arg(program).args(arguments).arg("--in-room");
                return Err(replace_with(again));
            }
            Ok(output) => said.push(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => said.push(error.to_string()),
        }
    }
    bail!(
        "--fault full: a small file system cannot be made here, neither as root nor in a name \
         space of its own: {}; run as root, or in a container with --privileged",
        said.join("; ")
    )
}

/// A command that runs what follows with a small file system on a folder.
fn inside(way: &[&str], folder: &Path) -> Command {
    let mount = format!("mount -t tmpfs -o size={ROOM_BYTES},mode=700 tmpfs \"$0\" && exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(way).args(["sh", "-c", &mount]).arg(folder);
    command
}

#[cfg(unix)]
fn replace_with(mut command: Command) -> anyhow::Error {
    use std::os::unix::process::CommandExt;

    anyhow!(command.exec()).context("run this program again")
}

#[cfg(not(unix))]
fn replace_with(_: Command) -> anyhow::Error {
    anyhow!("--fault full needs Linux")
}

/// A file that takes all the room there is, and all that is given back.
#[derive(Debug)]
pub struct Ballast {
    path: PathBuf,
    enough: Arc<AtomicBool>,
    loading: Option<JoinHandle<io::Result<()>>>,
}

/// The sizes in which room is taken: the large ones first.
const LOADS: [usize; 3] = [1 << 20, 1 << 14, 1 << 12];
/// The time between two tries to take what was given back.
const PAUSE: Duration = Duration::from_millis(20);

impl Ballast {
    /// Takes all the room in a folder, until it is dropped off.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("ballast");
        let mut file = File::create(&path).context("fill the disk")?;
        let enough = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&enough);
        fill(&mut file).context("fill the disk")?;
        let loading = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                fill(&mut file)?;
                thread::park_timeout(PAUSE);
            }
            Ok(())
        });
        Ok(Self {
            path,
            enough,
            loading: Some(loading),
        })
    }

    /// Gives all the room back.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn drop_off(mut self) -> Result<()> {
        self.enough.store(true, Ordering::Relaxed);
        if let Some(loading) = self.loading.take() {
            loading.thread().unpark();
            let loaded = loading
                .join()
                .map_err(|_| anyhow!("the ballast's thread panicked"))?;
            loaded.context("keep the disk full")?;
        }
        fs::remove_file(&self.path).context("make room on the disk")
    }
}

fn fill(file: &mut File) -> io::Result<()> {
    for load in LOADS {
        loop {
            match file.write_all(&vec![0; load]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
