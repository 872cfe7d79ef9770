//! The engines that the program stores into, and a store in each.

use anyhow::Result;
use conformance::Harness;
use conformance::engines::postgres::PostgresHarness;
use tokio::runtime::Runtime;

use crate::program::Folder;

/// An engine that a URL names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Engine {
    Sqlite,
    Sled,
    Postgres,
}

/// A store that is empty at first.
pub(crate) struct Store {
    pub(crate) url: String,
    /// What ends with the test, of a store that is in no folder.
    _schema: Option<PostgresHarness>,
}

impl Engine {
    /// A new store, in a folder if the engine keeps it in files.
    pub(crate) fn store(self, folder: &Folder) -> Result<Store> {
        let (url, schema) = match self {
            Self::Sqlite => (folder.url(), None),
            Self::Sled => (format!("sled:{}", folder.path("store").display()), None),
            Self::Postgres => {
                let harness = Runtime::new()?.block_on(PostgresHarness::new());
                (harness.location(), Some(harness))
            }
        };
        Ok(Store {
            url,
            _schema: schema,
        })
    }
}
