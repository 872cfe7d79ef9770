#![doc = include_str!("../README.md")]

use std::sync::Arc;

#[doc(inline)]
pub use aqevia_storage::*;

/// A backend for the store that a URL names, not yet initialised: nothing is read or written.
///
/// | URL | feature | store |
/// | --- | --- | --- |
/// | `sqlite:FILE`, `sqlite::memory:` | `sqlite` (default) | `aqevia-storage-sqlite`, with its parameters |
/// | `postgres://USER:PASSWORD@HOST:PORT/DATABASE` | `postgres` | `aqevia-storage-postgres`, with its parameters |
/// | `sled:DIR` | `sled` | `aqevia-storage-sled`, with its parameters |
/// | `memory:` | | [`Memory`], in this process |
/// | `null:` | | [`Null`], which keeps nothing |
///
/// ```
/// # fn main() -> aqevia::Result<()> {
/// let store = aqevia::open("memory:")?;
/// # let _ = store; Ok(())
/// # }
/// ```
///
/// # Errors
/// `Invalid` if the URL or a parameter of it is not known; `Unsupported`, naming the feature, if
/// the scheme's feature is off.
pub fn open(url: &str) -> Result<Arc<dyn StorageBackend>> {
    open_with(&StorageConfig::new(url.parse()?))
}

/// A backend for the store of a configuration. Parameters of its URL go before its other settings.
///
/// # Errors
/// As [`open`].
pub fn open_with(config: &StorageConfig) -> Result<Arc<dyn StorageBackend>> {
    let url = &config.url;
    match url.scheme() {
        "sqlite" => sqlite(config),
        "postgres" | "postgresql" => postgres(config),
        "sled" => sled(config),
        "memory" => plain(url, Memory::new()),
        "null" => plain(url, Null::new()),
        // If the scheme was forgotten, what follows it may be a password: it is not shown.
        scheme => Err(Error::invalid(format!(
            "open store: scheme {scheme:?} is not known; there are memory, null, postgres, sled, \
             sqlite"
        ))),
    }
}

/// A store that has neither location nor parameters.
fn plain(url: &StoreUrl, store: impl StorageBackend + 'static) -> Result<Arc<dyn StorageBackend>> {
    url.parameters().finish()?;
    if !url.path()?.is_empty() {
        let scheme = url.scheme();
        return Err(Error::invalid(format!(
            "open store {url}: it has no location; write `{scheme}:`"
        )));
    }
    Ok(Arc::new(store))
}

#[cfg(feature = "sqlite")]
fn sqlite(config: &StorageConfig) -> Result<Arc<dyn StorageBackend>> {
    use aqevia_storage_sqlite::{Sqlite, SqliteConfig};

    let config = SqliteConfig::from_url(&config.url, &config.pool)?;
    Ok(Arc::new(Sqlite::open(config)?))
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(config: &StorageConfig) -> Result<Arc<dyn StorageBackend>> {
    Err(without_feature(&config.url, "sqlite"))
}

#[cfg(feature = "postgres")]
fn postgres(config: &StorageConfig) -> Result<Arc<dyn StorageBackend>> {
    use aqevia_storage_postgres::{Postgres, PostgresConfig};

    let config = PostgresConfig::from_url(&config.url, &config.pool)?;
    Ok(Arc::new(Postgres::open(config)?))
}

#[cfg(not(feature = "postgres"))]
fn postgres(config: &StorageConfig) -> Result<Arc<dyn StorageBackend>> {
    Err(without_feature(&config.url, "postgres"))
}

#[cfg(feature = "sled")]
fn sled(config: &StorageConfig) -> Result<Arc<dyn StorageBackend>> {
    use aqevia_storage_sled::{Sled, SledConfig};

    let config = SledConfig::from_url(&config.url, &config.pool)?;
    Ok(Arc::new(Sled::open(config)?))
}

#[cfg(not(feature = "sled"))]
fn sled(config: &StorageConfig) -> Result<Arc<dyn StorageBackend>> {
    Err(without_feature(&config.url, "sled"))
}

#[cfg(not(all(feature = "sqlite", feature = "postgres", feature = "sled")))]
fn without_feature(url: &StoreUrl, feature: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "open store {url}: this program is built without feature `{feature}`; add it to the \
             features of `aqevia` in Cargo.toml"
        ),
    )
}

/// Keeps the program in the project's README compiling.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../../README.md")]
struct ProjectReadme;
