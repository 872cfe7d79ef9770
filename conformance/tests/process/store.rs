//! The file of a journal, and what it tells.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind as IoKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use aqevia_storage::{
    Batch, BatchNumber, Claim, Error, ErrorKind, Fingerprint, Limit, Link, Memory, Owner, Part,
    Receipt, Result, SchemaPolicy, StorageBackend, WorldHead, WorldId, WorldRange, step,
};

use super::entry::{Draft, Entry};
use super::journal::Defect;

/// What a journal begins with.
const MAGIC: &[u8] = b"journal 1\n";

/// An open file, and the reference backend as of a place in it.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    defect: Defect,
    /// Whether the file is locked as long as it is open, and not only during a call.
    alone: bool,
    /// Whether the file was there when the store was opened.
    was_there: bool,
    file: Option<File>,
    memory: Memory,
    links: BTreeMap<WorldId, Link>,
    /// The last part that was read.
    last: Option<Arc<Part>>,
    /// A part of which one half was read.
    half: Option<Draft>,
    read: u64,
    /// What is still to be written.
    pending: Vec<u8>,
    writer: Option<(Sender<Vec<u8>>, JoinHandle<()>)>,
}

impl Store {
    pub(crate) fn new(path: &Path, defect: Defect, alone: bool) -> Self {
        Self {
            path: path.to_owned(),
            defect,
            alone,
            was_there: path.exists(),
            file: None,
            memory: Memory::new(),
            links: BTreeMap::new(),
            last: None,
            half: None,
            read: 0,
            pending: Vec::new(),
            writer: None,
        }
    }

    pub(crate) async fn init(&mut self) -> Result<()> {
        let makes = self.defect == Defect::MakesAgain && !self.was_there;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(makes);
        let mut file = options.open(&self.path).map_err(refused)?;
        match (self.alone, self.defect) {
            (true, Defect::LetsOthersIn) => {}
            (true, _) => file.try_lock().map_err(in_use)?,
            (false, _) => file.lock().map_err(refused)?,
        }
        let mut begin = Vec::new();
        let read = (&file).take(MAGIC.len() as u64).read_to_end(&mut begin);
        read.map_err(refused)?;
        if begin != MAGIC {
            file.set_len(0).map_err(refused)?;
            file.rewind().map_err(refused)?;
            file.write_all(MAGIC).map_err(refused)?;
        }
        step("journal: made");
        self.file = Some(file);
        self.begin_anew().await?;
        self.recover_twice().await?;
        self.unlock()
    }

    /// Reads the journal from its beginning.
    async fn begin_anew(&mut self) -> Result<()> {
        self.memory = Memory::new();
        self.memory.init(SchemaPolicy::Upgrade).await?;
        self.links.clear();
        self.read = MAGIC.len() as u64;
        self.replay().await?;
        // What a kill left of a part counts, to a store that writes halves.
        if let Some(half) = self.half.take() {
            self.apply_part(&half).await;
        }
        Ok(())
    }

    /// Writes the last part once more, under the next number.
    async fn recover_twice(&mut self) -> Result<()> {
        let Some(last) = self
            .last
            .take()
            .filter(|_| self.defect == Defect::RecoversTwice)
        else {
            return Ok(());
        };
        let part = self.renumbered(&last).await;
        self.in_memory(Arc::clone(&part)).await?;
        self.write_part(&part).await
    }

    /// What the store holds, with what other processes wrote.
    pub(crate) async fn catch_up(&mut self) -> Result<&Memory> {
        self.lock().await?;
        self.unlock()?;
        Ok(&self.memory)
    }

    /// Locks the file and reads what is new in it.
    async fn lock(&mut self) -> Result<()> {
        let file = self.open()?;
        if !self.alone {
            file.lock().map_err(refused)?;
        }
        // What is not written yet cannot be read, so such a store looks at itself only.
        if matches!(self.defect, Defect::WritesLater | Defect::OneBehind) {
            return Ok(());
        }
        self.replay().await
    }

    fn unlock(&self) -> Result<()> {
        match self.alone {
            true => Ok(()),
            false => self.open()?.unlock().map_err(refused),
        }
    }

    fn open(&self) -> Result<&File> {
        let closed = || Error::closed("the journal is not open");
        self.file.as_ref().ok_or_else(closed)
    }

    /// Reads the whole entries after those that were read.
    async fn replay(&mut self) -> Result<()> {
        let mut file = self.open()?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.read)).map_err(refused)?;
        file.read_to_end(&mut bytes).map_err(refused)?;
        let mut rest = bytes.as_slice();
        while let Some((entry, length)) = Entry::first(rest) {
            self.apply(entry).await?;
            rest = rest.get(length..).unwrap_or_default();
            self.read += length as u64;
        }
        Ok(())
    }

    async fn apply(&mut self, entry: Entry) -> Result<()> {
        match entry {
            Entry::Claim(world, owner, schema) => {
                self.memory.claim(&world, &owner, schema).await?;
            }
            Entry::FirstHalf(half) => self.half = Some(half),
            Entry::Part(mut draft) => {
                if let Some(half) = self.half.take() {
                    draft.records.splice(..0, half.records);
                }
                self.apply_part(&draft).await;
            }
        }
        Ok(())
    }

    async fn apply_part(&mut self, draft: &Draft) {
        let link = self.links.get(&draft.world).copied();
        let part = draft.part(link.unwrap_or(Link::ORIGIN));
        let part = Arc::new(part);
        self.last = Some(Arc::clone(&part));
        if self.in_memory(part).await.is_err() {
            self.half = None;
        }
    }

    /// Persists a part in memory, and takes down its link.
    async fn in_memory(&mut self, part: Arc<Part>) -> Result<Receipt> {
        let batch = Batch::new(vec![Arc::clone(&part)])?;
        let answer = self.memory.persist_batch(batch).await.pop();
        let receipt = answer.expect("one answer")?;
        if !receipt.repeated && receipt.count > 0 {
            self.links.insert(part.world().clone(), part.link());
        }
        Ok(receipt)
    }

    pub(crate) async fn claim(
        &mut self,
        world: &WorldId,
        owner: &Owner,
        schema: Fingerprint,
    ) -> Result<Claim> {
        self.lock().await?;
        let claim = self.memory.claim(world, owner, schema).await;
        let entry = Entry::Claim(world.clone(), owner.clone(), schema);
        self.write_pending();
        let written = self.write_now(&entry.to_bytes()).await;
        self.unlock()?;
        written.and(claim)
    }

    pub(crate) async fn persist(&mut self, part: &Arc<Part>) -> Result<Receipt> {
        self.lock().await?;
        let answer = self.persist_locked(part).await;
        self.unlock()?;
        answer
    }

    async fn persist_locked(&mut self, part: &Arc<Part>) -> Result<Receipt> {
        let mut part = Arc::clone(part);
        let mut answer = self.in_memory(Arc::clone(&part)).await;
        let again = match &answer {
            Ok(receipt) => receipt.repeated && self.defect == Defect::Forgetful,
            Err(error) => error.kind() == ErrorKind::Fenced && self.defect == Defect::NotFencing,
        };
        if again {
            part = self.renumbered(&part).await;
            answer = self.in_memory(Arc::clone(&part)).await;
        }
        let receipt = answer?;
        if receipt.repeated || receipt.count == 0 {
            return Ok(receipt);
        }
        self.tell("part: decided");
        self.write_part(&part).await?;
        self.tell("part: written");
        Ok(receipt)
    }

    fn tell(&self, name: &'static str) {
        if self.defect != Defect::TellsNoSteps {
            step(name);
        }
    }

    async fn write_part(&mut self, part: &Part) -> Result<()> {
        let mut draft = Draft::of(part);
        if self.defect == Defect::TwoHalves {
            let rest = draft.records.split_off(draft.records.len().div_ceil(2));
            let half = std::mem::replace(&mut draft.records, rest);
            let mut first = Draft::of(part);
            first.records = half;
            self.write(&Entry::FirstHalf(first).to_bytes()).await?;
            step("part: half written");
        }
        let bytes = Entry::Part(draft).to_bytes();
        if self.defect == Defect::KeepsTail {
            // Two calls, so that a kill between them cuts the entry.
            let (first, rest) = bytes.split_at(bytes.len() / 2);
            self.write(first).await?;
            step("part: half written");
            return self.write(rest).await;
        }
        self.write(&bytes).await
    }

    /// The part with the epoch and the number that would be right for its world.
    async fn renumbered(&self, part: &Part) -> Arc<Part> {
        let page = self
            .memory
            .worlds(WorldRange::all(), Limit::default())
            .await;
        let heads: Vec<WorldHead> = page.map(|page| page.items).unwrap_or_default();
        let head = heads.into_iter().find(|head| head.world == *part.world());
        let mut draft = Draft::of(part);
        if let Some(head) = head {
            draft.epoch = head.epoch.get();
            draft.number = head
                .last_number
                .advance(1)
                .unwrap_or(BatchNumber::ZERO)
                .get();
        }
        let link = self.links.get(part.world()).copied();
        Arc::new(draft.part(link.unwrap_or(Link::ORIGIN)))
    }

    /// Adds bytes to the journal, or sees to it that they are added later.
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self.defect {
            Defect::WritesLater => {
                self.later(bytes);
                Ok(())
            }
            Defect::OneBehind => {
                let before = std::mem::replace(&mut self.pending, bytes.to_vec());
                append(self.open()?, &before).map_err(no_room)
            }
            _ => self.write_now(bytes).await,
        }
    }

    async fn write_now(&mut self, bytes: &[u8]) -> Result<()> {
        let mut file = self.open()?;
        if !matches!(
            self.defect,
            Defect::KeepsTail | Defect::WritesLater | Defect::OneBehind
        ) {
            // What a kill cut short is overwritten.
            file.set_len(self.read).map_err(refused)?;
        }
        file.seek(SeekFrom::End(0)).map_err(refused)?;
        let Err(error) = file.write_all(bytes) else {
            self.read += bytes.len() as u64;
            return Ok(());
        };
        match self.defect {
            Defect::IgnoresFull => return Ok(()),
            Defect::KeepsRefused => return Err(no_room(error)),
            _ => {}
        }
        self.open()?.set_len(self.read).map_err(refused)?;
        self.begin_anew().await?;
        match self.defect {
            Defect::FullIsCorrupt => Err(Error::corrupt("the journal is damaged")),
            _ => Err(no_room(error)),
        }
    }

    /// Hands an entry to the thread that writes.
    fn later(&mut self, bytes: &[u8]) {
        let path = self.path.clone();
        let (sender, _) = self.writer.get_or_insert_with(|| {
            let (sender, entries) = channel::<Vec<u8>>();
            let thread = std::thread::spawn(move || {
                let file = OpenOptions::new()
                    .write(true)
                    .open(path)
                    .expect("the journal");
                for entry in entries {
                    // It takes its time.
                    std::hint::black_box(blake3::hash(&vec![0; 4 << 20]));
                    append(&file, &entry).expect("room");
                }
            });
            (sender, thread)
        });
        sender.send(bytes.to_vec()).expect("the thread goes on");
    }

    pub(crate) fn close(&mut self) {
        self.write_pending();
        self.file = None;
    }

    /// Writes what is still to be written, and waits for the thread that does.
    fn write_pending(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if let (Ok(file), false) = (self.open(), pending.is_empty()) {
            append(file, &pending).expect("room");
        }
        if let Some((sender, thread)) = self.writer.take() {
            drop(sender);
            thread.join().expect("the thread ends");
        }
    }
}

fn append(mut file: &File, bytes: &[u8]) -> std::io::Result<()> {
    file.seek(SeekFrom::End(0))?;
    file.write_all(bytes)
}

fn refused(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the journal cannot be used").with_source(error)
}

fn in_use(error: TryLockError) -> Error {
    let error = std::io::Error::from(error);
    Error::new(
        ErrorKind::Unavailable,
        "another process has the journal open",
    )
    .with_source(error)
}

fn no_room(error: std::io::Error) -> Error {
    match error.kind() {
        IoKind::StorageFull => Error::new(ErrorKind::Full, "no room for the journal"),
        _ => refused(error),
    }
}
