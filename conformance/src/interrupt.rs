//! What a run leaves behind when a signal ends it: nothing of its own on this machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// How often processes are killed and the folder is removed, since the run goes on meanwhile.
const TRIES: u32 = 200;
/// The time between two tries.
const PAUSE: Duration = Duration::from_millis(5);
/// What shells add to the number of the signal by which a program ended.
const BY_SIGNAL: i32 = 128;

/// From here on SIGINT and SIGTERM kill all processes that this one has started, remove the folder,
/// and end this process with the exit code of the signal.
///
/// # Errors
/// If the system gives no thread or takes no handler.
pub(crate) fn clean_up_on_signals(folder: &Path) -> io::Result<()> {
    let folder = folder.to_owned();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _inside = runtime.enter();
        [SignalKind::interrupt(), SignalKind::terminate()].map(signal)
    };
    let [interrupt, terminate] = signals;
    let (mut interrupt, mut terminate) = (interrupt?, terminate?);
    let thread = thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || {
        let code = runtime.block_on(async {
            let kind = tokio::select! {
                _ = interrupt.recv() => SignalKind::interrupt(),
                _ = terminate.recv() => SignalKind::terminate(),
            };
            clean_up(&folder).await;
            BY_SIGNAL + kind.as_raw_value()
        });
        process::exit(code)
    })?;
    Ok(())
}

/// Order matters: where there is no folder, neither this process nor a new child of it can make
/// another store.
async fn clean_up(folder: &Path) {
    for _ in 0..TRIES {
        kill_descendants();
        let removed = fs::remove_dir_all(folder);
        let gone = removed.is_ok() || !folder.exists();
        if gone && kill_descendants() == 0 {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// Kills all processes below this one: how many there were that had not ended.
fn kill_descendants() -> usize {
    let living = living();
    let mut below = vec![process::id()];
    let mut next = 0;
    while let Some(parent) = below.get(next).copied() {
        let children = living.iter().filter(|(_, of)| *of == parent);
        below.extend(children.map(|(child, _)| *child));
        next += 1;
    }
    for child in below.iter().skip(1) {
        if let Some(pid) = i32::try_from(*child).ok().and_then(Pid::from_raw) {
            // One that has ended meanwhile is no matter.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    below.len() - 1
}

/// All processes that have not ended, each with its parent; none where there is no `/proc`.
fn living() -> Vec<(u32, u32)> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = processes.map(|process| process.path().join("stat"));
    stats.filter_map(parent_in).collect()
}

/// The number of a process and of its parent, from `/proc/PID/stat`.
fn parent_in(stat: PathBuf) -> Option<(u32, u32)> {
    let stat = fs::read_to_string(stat).ok()?;
    // The name of the program stands in brackets, and may hold spaces and brackets.
    let (pid, _) = stat.split_once(' ')?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    fields.next().filter(|state| !matches!(*state, "Z" | "X"))?;
    Some((pid.parse().ok()?, fields.next()?.parse().ok()?))
}
