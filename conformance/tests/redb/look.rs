//! Looking into a file that may be of another layout, or of another program, without a change.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use aqevia_storage::{Error, ErrorKind, Result};
use redb::backends::FileBackend;
use redb::{BackendError, Database, StorageBackend};

use crate::error::{failed, system};

/// Opens a file to look into it. No byte of it changes.
///
/// # Errors
/// `Incompatible` if it is no file of redb's; `Unavailable` if another has it open.
pub(crate) fn look(path: &Path) -> Result<Database> {
    let file = File::open(path).map_err(system)?;
    if file.metadata().map_err(system)?.len() == 0 {
        // redb would take it for a store that is to be made.
        return Err(not_ours("the file is empty"));
    }
    let file = Untouched {
        file: FileBackend::new(file).map_err(failed)?,
        writes: Mutex::default(),
    };
    let database = Database::builder().create_with_backend(file);
    database.map_err(|error| match error {
        redb::DatabaseError::Storage(redb::StorageError::Io(error))
            if error.kind() == io::ErrorKind::InvalidData =>
        {
            not_ours("the file is none of redb's").with_source(error)
        }
        error => failed(error),
    })
}

/// What is in the way is not a store.
pub(crate) fn not_ours(matter: &str) -> Error {
    let advice = "it is not a store; choose another path";
    Error::new(ErrorKind::Incompatible, format!("{matter}: {advice}"))
}

/// A file that is open for reading alone. What is written to it stays in memory.
///
/// redb repairs a file that was not closed, and notes in every file that it has it open. A store
/// that is going to be refused is to see nothing of that (clauses B3, B6).
#[derive(Debug)]
struct Untouched {
    file: FileBackend,
    /// Offset and bytes of each write, in their order.
    writes: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl Untouched {
    fn writes(&self) -> std::sync::MutexGuard<'_, Vec<(u64, Vec<u8>)>> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for Untouched {
    fn len(&self) -> io::Result<u64> {
        let end = |(offset, bytes): &(u64, Vec<u8>)| offset + bytes.len() as u64;
        let written = self.writes().iter().map(end).max();
        Ok(self.file.len()?.max(written.unwrap_or_default()))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.fill(0);
        let in_file = self.file.len()?.saturating_sub(offset);
        let in_file = out
            .len()
            .min(usize::try_from(in_file).unwrap_or(usize::MAX));
        let (in_file, _) = out.split_at_mut(in_file);
        self.file.read(offset, in_file)?;
        for (at, bytes) in self.writes().iter() {
            let skip = |from: u64, to: u64| to.saturating_sub(from) as usize;
            let slots = out.iter_mut().skip(skip(offset, *at));
            let bytes = bytes.iter().skip(skip(*at, offset));
            slots.zip(bytes).for_each(|(slot, byte)| *slot = *byte);
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.writes().push((offset, bytes.to_vec()));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        // Longer, it ends in zeros; shorter, nothing reads past its end.
        match len.checked_sub(1) {
            Some(last) if len > self.len()? => self.write(last, &[0]),
            _ => Ok(()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    /// Shared, since a file that is open for reading alone cannot be locked otherwise: it keeps
    /// writers away, and is refused while there is one.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}
