//! A store in a folder that has no room left.

use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::Verdict;
use super::child::{Job, Task};
use super::filling::ROOM_BYTES;
use super::launcher::Launcher;
use super::line::Line;
use crate::Harness;
use crate::suite::on_runtime;

/// What a check without room did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RoomReport {
    /// Why it was not tried, if it was not.
    pub not_tried: Option<String>,
    /// How many parts went in before the folder was full.
    pub parts: u64,
    /// How many parts were refused as `Full`.
    pub full: u64,
    /// How many were answered `Ambiguous`.
    pub ambiguous: u64,
    /// How often a part was persisted again until there was room for it.
    pub tries: u64,
}

/// The variable that opts out of this check, with the value `off`.
pub(crate) const OPT_OUT: &str = "AQEVIA_TEST_NO_ROOM";

/// Whether the environment opts out of it.
pub(crate) fn is_left_out() -> bool {
    std::env::var(OPT_OUT).is_ok_and(|value| value == "off")
}

/// Fills the folder of a store, which is a file system of its own: a part for which there is no
/// room is `Full` and leaves nothing behind; reads go on; once there is room it is in exactly once,
/// or refused as `Fenced` if another has claimed meanwhile.
///
/// A store that is kept by a server is not tried, and neither is any if the variable
/// `AQEVIA_TEST_NO_ROOM` is `off`; the report says so.
///
/// # Panics
/// If the store breaks the contract: the message begins with the clause's id. If this system lets
/// nobody make a small file system: the message says what to do.
pub fn no_room<H: Harness>(launcher: &Launcher, seed: u64) -> RoomReport {
    if is_left_out() {
        return not_tried(&format!("{OPT_OUT} is off"));
    }
    let folder = tempfile::tempdir().expect("a folder");
    if !in_files::<H>(folder.path()) {
        return not_tried("the store is kept by a server");
    }
    let inside = inside(launcher, folder.path());
    let done = run(&inside, folder.path(), seed);
    done.unwrap_or_else(|violation| panic!("{violation}\n(a folder without room, seed {seed})"))
}

fn not_tried(why: &str) -> RoomReport {
    RoomReport {
        not_tried: Some(why.to_owned()),
        ..RoomReport::default()
    }
}

/// Whether stores of a harness can be put into a folder.
fn in_files<H: Harness>(folder: &Path) -> bool {
    on_runtime(async { H::new_in(folder).await.is_some() })
}

/// The child in a file system of its own, which nobody else sees and which ends with it.
///
/// # Panics
/// If neither root nor a user of a name space of its own may mount one.
fn inside(launcher: &Launcher, folder: &Path) -> Launcher {
    let mount = format!("mount -t tmpfs -o size={ROOM_BYTES} tmpfs \"$0\" && exec \"$@\"");
    let ways: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
    let mut said = Vec::new();
    for way in ways {
        let arguments = [way, &["sh", "-c", &mount]].concat();
        let tried = Command::new("unshare")
            .args(&arguments)
            .arg(folder)
            .arg("true")
            .output();
        match tried {
            Ok(output) if output.status.success() => {
                return launcher.inside("unshare", &arguments, folder);
            }
            Ok(output) => said.push(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => said.push(error.to_string()),
        }
    }
    panic!(
        "a small file system cannot be made here: neither as root nor in a name space of its own \
         does `unshare` (util-linux) let `mount` one: {said:?}. Run as root or allow user name \
         spaces (in a container: `--privileged`), or set {OPT_OUT}=off to leave this check out"
    );
}

fn run(inside: &Launcher, folder: &Path, seed: u64) -> Verdict<RoomReport> {
    let mut child = inside.start(&Job {
        task: Task::Fill {
            folder: folder.to_owned(),
        },
        location: String::new(),
        seed,
        halt: None,
    });
    let report = child.wait_for(|line| match line {
        Line::Found { report } => Some(report.clone()),
        _ => None,
    })?;
    child.finish()?;
    serde_json::from_str(&report).map_err(|error| format!("a report cannot be read: {error}"))
}
