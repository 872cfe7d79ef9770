//! Settings of a store in sled.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use aqevia_storage::{Capabilities, Durability, Error, PoolConfig, Result, StoreUrl};

/// Which folder to open, and how.
///
/// ```
/// use aqevia_storage_sled::{Sled, SledConfig};
///
/// let mut config = SledConfig::new("storage.sled");
/// config.cache_mib = 256;
/// let store = Sled::open(config)?;
/// # Ok::<(), aqevia_storage::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SledConfig {
    /// The folder of the store. The folder above it must be there; it is made itself if it is not.
    pub folder: PathBuf,
    /// How many read at once, at most [`SledConfig::POOL_SIZE_MAX`], and how long is waited: for a
    /// turn to read, and, by `busy_timeout`, for another backend that has the store open. There
    /// are no connections, so their lifetime has no effect.
    pub pool: PoolConfig,
    /// How much of the store's pages sled keeps in memory, in MiB as they are on disk, from 1 to
    /// [`SledConfig::CACHE_MIB_MAX`]. Default 64. The memory that they take is a multiple of it.
    pub cache_mib: usize,
    /// What `init` does with a folder that others can write to. Default: refuse.
    pub insecure_permissions: Permissions,
    /// How long a snapshot can be read. Default 60 s. Its world cannot be written meanwhile.
    pub snapshot_age_max: Duration,
}

/// What to do with a folder that every user of the machine can write to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Permissions {
    /// Refuse to open the store.
    #[default]
    Refuse,
    /// Log a warning and open it.
    Allow,
}

impl SledConfig {
    /// The most reads at once.
    pub const POOL_SIZE_MAX: usize = 1000;
    /// The largest cache: 1 TiB.
    pub const CACHE_MIB_MAX: usize = 1 << 20;

    /// The defaults, for a folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            pool: PoolConfig::default(),
            cache_mib: 64,
            insecure_permissions: Permissions::default(),
            snapshot_age_max: Duration::from_secs(60),
        }
    }

    /// Reads `sled:FOLDER?PARAMETERS`. What the parameters leave open of the pool is `pool`.
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
        let cache_mib = parameters.take_count("cache_mib")?;
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
        config.cache_mib = cache_mib.unwrap_or(config.cache_mib);
        config.insecure_permissions = permissions.unwrap_or(config.insecure_permissions);
        config.snapshot_age_max = snapshot_age_max.unwrap_or(config.snapshot_age_max);
        config.check()?;
        Ok(config)
    }

    /// Checks what the types do not exclude.
    pub(crate) fn check(&self) -> Result<()> {
        if self.folder.as_os_str().is_empty() {
            return Err(Error::invalid(format!(
                "{self}: the path is empty; write for example `sled:storage.sled`"
            )));
        }
        let (cache, max) = (self.cache_mib, Self::CACHE_MIB_MAX);
        if cache == 0 || cache > max {
            return Err(Error::invalid(format!(
                "{self}: cache_mib is {cache}, must be from 1 to {max}"
            )));
        }
        let pool = self.pool.check(Self::POOL_SIZE_MAX);
        pool.map_err(|error| error.context(self))
    }

    pub(crate) const fn capabilities(&self) -> Capabilities {
        Capabilities {
            durability: Durability::Power,
            shared: false,
            snapshot: false,
        }
    }
}

/// What is being opened, for messages: `open sled store "storage.sled"`.
impl fmt::Display for SledConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "open sled store {:?}", self.folder)
    }
}
