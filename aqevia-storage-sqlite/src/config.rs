//! Settings of a store in SQLite.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aqevia_storage::{Capabilities, Durability, Error, PoolConfig, Result, StoreUrl};

/// Which database to open, and how.
///
/// ```
/// use aqevia_storage_sqlite::{Sqlite, SqliteConfig, Synchronous};
///
/// let mut config = SqliteConfig::new("storage.sqlite");
/// config.synchronous = Synchronous::Normal;
/// let store = Sqlite::open(config)?;
/// # Ok::<(), aqevia_storage::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteConfig {
    /// Where the database is.
    pub location: Location,
    /// The connections. At most [`SqliteConfig::POOL_SIZE_MAX`] read.
    pub pool: PoolConfig,
    /// What a commit waits for. Default: the disk.
    pub synchronous: Synchronous,
    /// What `init` does with a file or folder that others can write to. Default: refuse.
    pub insecure_permissions: Permissions,
    /// How long a snapshot can be read. Default 60 s. The write-ahead log cannot shrink meanwhile.
    pub snapshot_age_max: Duration,
}

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// A file. Its folder must be there; the file is made if it is not.
    File(PathBuf),
    /// The memory of this process. The database ends with its backend.
    Memory,
}

/// What a commit waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Synchronous {
    /// The disk: what was acknowledged survives the loss of power.
    #[default]
    Full,
    /// The operating system: the last commits may go with the power, and nothing else.
    Normal,
    /// Nothing: the database may be destroyed by the loss of power.
    Off,
}

/// What to do with a file or folder that every user of the machine can write to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Permissions {
    /// Refuse to open the store.
    #[default]
    Refuse,
    /// Log a warning and open it.
    Allow,
}

impl SqliteConfig {
    /// The most connections that read.
    pub const POOL_SIZE_MAX: usize = 1000;

    /// The defaults, for a file. `:memory:` is no file but [`SqliteConfig::memory`].
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        if path == Path::new(IN_MEMORY) {
            return Self::at(Location::Memory);
        }
        Self::at(Location::File(path))
    }

    /// The defaults, for a database in memory.
    #[must_use]
    pub fn memory() -> Self {
        Self::at(Location::Memory)
    }

    /// Reads `sqlite:PATH?PARAMETERS`. What the parameters leave open of the pool is `pool`.
    ///
    /// The README lists the parameters.
    ///
    /// # Errors
    /// `Invalid` if the path is empty, or if a parameter is not known or does not parse.
    pub fn from_url(url: &StoreUrl, pool: &PoolConfig) -> Result<Self> {
        let mut config = Self::new(url.path()?);
        config.pool = pool.clone();
        let mut parameters = url.parameters();
        config.pool.read_parameters(&mut parameters)?;
        let synchronous = parameters.take("synchronous", "full, normal or off", |text| {
            Synchronous::ALL
                .into_iter()
                .find(|level| level.name() == text)
        })?;
        let permissions =
            parameters.take(
                "insecure_permissions",
                "refuse or allow",
                |text| match text {
                    "refuse" => Some(Permissions::Refuse),
                    "allow" => Some(Permissions::Allow),
                    _ => None,
                },
            )?;
        let snapshot_age_max = parameters.take_ms("snapshot_age_max_ms")?;
        parameters.finish()?;
        config.synchronous = synchronous.unwrap_or(config.synchronous);
        config.insecure_permissions = permissions.unwrap_or(config.insecure_permissions);
        config.snapshot_age_max = snapshot_age_max.unwrap_or(config.snapshot_age_max);
        config.check()?;
        Ok(config)
    }

    fn at(location: Location) -> Self {
        Self {
            location,
            pool: PoolConfig::default(),
            synchronous: Synchronous::default(),
            insecure_permissions: Permissions::default(),
            snapshot_age_max: Duration::from_secs(60),
        }
    }

    /// Checks what the types do not exclude.
    pub(crate) fn check(&self) -> Result<()> {
        if matches!(&self.location, Location::File(path) if path.as_os_str().is_empty()) {
            return Err(Error::invalid(format!(
                "{self}: the path is empty; write for example `sqlite:storage.sqlite`"
            )));
        }
        let pool = self.pool.check(Self::POOL_SIZE_MAX);
        pool.map_err(|error| error.context(self))
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        let durability = match (&self.location, self.synchronous) {
            (Location::Memory, _) | (_, Synchronous::Off) => Durability::None,
            (_, Synchronous::Normal) => Durability::Process,
            (_, Synchronous::Full) => Durability::Power,
        };
        Capabilities {
            durability,
            shared: matches!(self.location, Location::File(_)),
            snapshot: true,
        }
    }
}

/// What is being opened, for messages: `open sqlite database "storage.sqlite"`.
impl fmt::Display for SqliteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Location::File(path) => write!(f, "open sqlite database {path:?}"),
            Location::Memory => write!(f, "open sqlite database {IN_MEMORY:?}"),
        }
    }
}

impl Synchronous {
    const ALL: [Self; 3] = [Self::Full, Self::Normal, Self::Off];

    /// The name, as `PRAGMA synchronous` and the URL have it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Normal => "normal",
            Self::Off => "off",
        }
    }
}

/// The path that stands for a database in memory.
const IN_MEMORY: &str = ":memory:";
