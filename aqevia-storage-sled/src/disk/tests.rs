use std::fs;
use std::io::pipe;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex};

use aqevia_storage::{
    Batch, BatchNumber, BatchRecord, Claim, Epoch, ErrorKind, Fingerprint, History, Link, Owner,
    Part, Receipt, Result, SchemaPolicy, WorldRecord,
};
use tempfile::TempDir;

use super::*;
use crate::engine::Engine;
use crate::folder::Folder;
use crate::shared::Shared;
use crate::shared::tests::{arda, fail_for_want_of_room, shared_in};
use crate::stamp::{self, Found};
use crate::writer::tests::hear_steps;
use crate::{Permissions, layout, write};

/// What is made durable while a store is made, in its order.
const MADE: [&str; 11] = [
    "aqevia.layout.draft",
    ".",
    "..",
    ".",
    "sled/db",
    "sled/conf",
    "sled/blobs",
    "sled",
    ".",
    "aqevia.layout.draft",
    ".",
];
/// The same while a store is opened that is there.
const OPENED: [&str; 3] = ["sled/db", "sled", "."];

/// A disk that notes what is synced, and refuses it when asked to.
#[derive(Debug, Default)]
struct Noting {
    synced: Mutex<Vec<&'static str>>,
    /// Which of the syncs to come fails, from 0.
    refuse: Mutex<Option<usize>>,
}

impl Noting {
    fn note(&self, file: &File, path: &Path) -> io::Result<()> {
        let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        assert_eq!(id(file.metadata()?), id(fs::metadata(path)?), "{path:?}");
        self.synced.lock().unwrap().push(name_of(path));
        let mut refuse = self.refuse.lock().unwrap();
        match refuse.take() {
            Some(0) => return Err(io::Error::from_raw_os_error(EIO)),
            left => *refuse = left.map(|left| left - 1),
        }
        Ok(())
    }

    /// Refuses one of the syncs to come, from 0.
    fn refuse(&self, index: usize) {
        *self.refuse.lock().unwrap() = Some(index);
    }

    /// What was synced since this was asked before.
    fn synced(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.synced.lock().unwrap())
    }
}

/// The name of what lies in a store, as [`MADE`] has it.
fn name_of(path: &Path) -> &'static str {
    let is = |name: &&str| match *name {
        "." => path.ends_with(STORE),
        name => path.ends_with(Path::new(STORE).join(name)),
    };
    MADE.into_iter().find(is).unwrap_or("..")
}

/// The operating system's code of an input or output that failed.
const EIO: i32 = 5;

impl Disk for Noting {
    fn sync_data(&self, file: &File, path: &Path) -> io::Result<()> {
        self.note(file, path)
    }

    fn sync_all(&self, file: &File, path: &Path) -> io::Result<()> {
        self.note(file, path)
    }
}

/// The name of a store's folder.
const STORE: &str = "storage.sled";

/// Where a store can be made, on a disk that notes.
fn place() -> (TempDir, Folder, Arc<Noting>) {
    hear_steps();
    let above = tempfile::tempdir().unwrap();
    let disk = Arc::new(Noting::default());
    let noting: Arc<dyn Disk> = Arc::clone(&disk) as _;
    let folder = Folder::on(noting, &above.path().join(STORE)).unwrap();
    (above, folder, disk)
}

/// Makes or finds the store.
fn open(folder: &Folder) -> Result<Engine> {
    // sled's threads take a moment to let go of a store that was closed.
    if let Ok(data) = File::open(folder.data()) {
        data.lock().unwrap();
        data.unlock().unwrap();
    }
    folder.prepare(Permissions::Refuse)?;
    layout::open(folder, 1, SchemaPolicy::Upgrade)
}

/// A store with one world that is claimed, and what claiming it synced.
fn claimed() -> (TempDir, Shared, Arc<Noting>, Epoch) {
    let (above, folder, disk) = place();
    folder.prepare(Permissions::Refuse).unwrap();
    let shared = shared_in(folder);
    disk.synced();
    let epoch = claim(&shared).unwrap().epoch;
    (above, shared, disk, epoch)
}

fn claim(shared: &Shared) -> Result<Claim> {
    let owner = Owner::new("test").unwrap();
    write::claim(shared, &arda(), &owner, Fingerprint([0; 32]))
}

/// A part of one event, the first of its writer.
fn part(epoch: Epoch) -> Part {
    let event = WorldRecord::new(arda(), vec![7], 7);
    let records = vec![BatchRecord::new(event, History::All)];
    Part::new(arda(), epoch, BatchNumber::FIRST, 0, Link::ORIGIN, records).unwrap()
}

fn persist(shared: &Shared, part: Part) -> Result<Receipt> {
    let batch = Batch::new(vec![Arc::new(part)]).unwrap();
    write::persist(shared, batch.parts()).pop().unwrap()
}

#[test]
fn what_the_operating_system_refuses_to_sync_is_an_error() {
    let folder = Folder::at(Path::new(STORE)).unwrap();
    // A pipe is no file that a disk keeps.
    let (_, writer) = pipe().unwrap();
    let pipe = File::from(OwnedFd::from(writer));
    assert!(folder.disk().sync_data(&pipe, folder.path()).is_err());
    assert!(folder.disk().sync_all(&pipe, folder.path()).is_err());
}

#[test]
fn a_store_that_is_made_has_every_file_and_folder_synced() {
    let (_above, folder, disk) = place();
    open(&folder).unwrap();
    assert_eq!(disk.synced(), MADE);
}

#[test]
fn a_store_that_is_opened_has_synced_what_a_killed_process_may_not_have() {
    let (_above, folder, disk) = place();
    drop(open(&folder).unwrap());
    disk.synced();
    open(&folder).unwrap();
    assert_eq!(disk.synced(), OPENED);
}

#[test]
fn a_store_does_not_count_as_made_before_all_of_it_is_synced() {
    for refused in 0..MADE.len() {
        let (_above, folder, disk) = place();
        disk.refuse(refused);
        let error = open(&folder).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{refused}: {error}");
        assert_eq!(disk.synced(), MADE[..=refused]);
        // The last makes the stamp durable which says that all before it is.
        let is_last = refused + 1 == MADE.len();
        let found = stamp::inspect(&folder).unwrap();
        assert_eq!(found == Found::Present, is_last, "{refused}: {found:?}");
        open(&folder).unwrap();
        let again = if is_last { &OPENED[..] } else { &MADE };
        assert_eq!(disk.synced(), again, "{refused}");
    }
}

#[test]
fn a_store_that_could_not_be_synced_is_not_opened() {
    for refused in 0..OPENED.len() {
        let (_above, folder, disk) = place();
        drop(open(&folder).unwrap());
        disk.refuse(refused);
        let error = open(&folder).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{refused}: {error}");
    }
}

#[test]
fn what_is_written_has_been_synced_when_it_is_acknowledged() {
    let (_above, shared, disk, epoch) = claimed();
    assert_eq!(disk.synced(), ["sled/db"]);
    assert!(!persist(&shared, part(epoch)).unwrap().repeated);
    assert_eq!(disk.synced(), ["sled/db"]);
    assert!(persist(&shared, part(epoch)).unwrap().repeated);
    assert!(disk.synced().is_empty(), "it was durable before");
}

#[test]
fn a_part_whose_sync_failed_has_no_receipt_then_or_later() {
    let (_above, shared, disk, epoch) = claimed();
    disk.synced();
    disk.refuse(0);
    let error = persist(&shared, part(epoch)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ambiguous);
    assert_eq!(disk.synced(), ["sled/db"]);
    for error in [
        persist(&shared, part(epoch)).unwrap_err(),
        persist(&shared, part(epoch)).unwrap_err(),
        claim(&shared).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("open it again"), "{error}");
    }
    assert!(shared.close().is_ok());
    assert!(disk.synced().is_empty(), "the store is not gone on with");
}

#[test]
fn a_claim_whose_sync_failed_is_not_given_then_or_later() {
    let (_above, shared, disk, _) = claimed();
    disk.refuse(0);
    assert_eq!(claim(&shared).unwrap_err().kind(), ErrorKind::Ambiguous);
    assert_eq!(claim(&shared).unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_store_that_found_room_and_could_not_be_synced_stays_closed() {
    for refused in 0..OPENED.len() {
        let (_above, shared, disk, epoch) = claimed();
        fail_for_want_of_room(&shared);
        disk.synced();
        disk.refuse(refused);
        for _ in 0..2 {
            let error = persist(&shared, part(epoch)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{refused}: {error}");
            assert!(error.to_string().contains("open it again"), "{error}");
        }
        assert_eq!(disk.synced(), OPENED[..=refused]);
    }
}
