//! Settings from URLs.

use std::time::Duration;

use aqevia_storage::{Durability, ErrorKind, PoolConfig, Result, SchemaPolicy, StorageBackend};
use aqevia_storage_sqlite::{Location, Permissions, Sqlite, SqliteConfig, Synchronous};

use crate::store::{Folder, backend};

fn from_url(url: &str) -> Result<SqliteConfig> {
    SqliteConfig::from_url(&url.parse().unwrap(), &PoolConfig::default())
}

#[test]
fn a_url_without_parameters_gives_the_defaults() {
    let config = from_url("sqlite:a%20b.sqlite").unwrap();
    assert_eq!(config, SqliteConfig::new("a b.sqlite"));
    assert_eq!(config.location, Location::File("a b.sqlite".into()));
    assert_eq!(config.synchronous, Synchronous::Full);
    assert_eq!(config.insecure_permissions, Permissions::Refuse);
}

#[test]
fn each_parameter_moves_its_setting() {
    let config = from_url(
        "sqlite:a.sqlite?pool_size=3&acquire_timeout_ms=4&connection_lifetime_ms=5\
         &busy_timeout_ms=6&synchronous=normal&insecure_permissions=allow&snapshot_age_max_ms=7",
    )
    .unwrap();
    let ms = Duration::from_millis;
    let mut expected = SqliteConfig::new("a.sqlite");
    expected.pool.size = 3;
    expected.pool.acquire_timeout = ms(4);
    expected.pool.connection_lifetime = ms(5);
    expected.pool.busy_timeout = ms(6);
    expected.synchronous = Synchronous::Normal;
    expected.insecure_permissions = Permissions::Allow;
    expected.snapshot_age_max = ms(7);
    assert_eq!(config, expected);
}

#[test]
fn the_pool_of_the_caller_stands_where_the_url_says_nothing() {
    let mut pool = PoolConfig::default();
    pool.size = 2;
    pool.acquire_timeout = Duration::from_secs(1);
    let url = "sqlite:a?pool_size=3".parse().unwrap();
    let config = SqliteConfig::from_url(&url, &pool).unwrap();
    assert_eq!(config.pool.size, 3);
    assert_eq!(config.pool.acquire_timeout, Duration::from_secs(1));
}

#[test]
fn memory_is_a_path_of_its_own() {
    assert_eq!(from_url("sqlite::memory:").unwrap(), SqliteConfig::memory());
}

#[test]
fn what_is_not_allowed_is_named_with_what_is() {
    for (url, says) in [
        ("sqlite:", "write for example `sqlite:storage.sqlite`"),
        (
            "sqlite:a?colour=red",
            "parameter \"colour\" is not known; there are pool_size",
        ),
        ("sqlite:a?synchronous=maybe", "must be full, normal or off"),
        (
            "sqlite:a?insecure_permissions=yes",
            "must be refuse or allow",
        ),
        (
            "sqlite:a?busy_timeout_ms=99999999999",
            "must be a whole number of milliseconds",
        ),
        (
            "sqlite:a?pool_size=1001",
            "pool_size is 1001, must be from 1 to 1000",
        ),
    ] {
        let error = from_url(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn settings_from_code_are_checked_too() {
    let mut config = SqliteConfig::new("a");
    config.pool.size = 0;
    assert_eq!(Sqlite::open(config).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(Sqlite::open(SqliteConfig::new("")).is_err());
}

#[tokio::test]
async fn durability_is_declared_by_what_a_commit_waits_for() {
    for (synchronous, durability) in [
        (Synchronous::Full, Durability::Power),
        (Synchronous::Normal, Durability::Process),
        (Synchronous::Off, Durability::None),
    ] {
        let folder = Folder::new();
        let mut config = folder.config();
        config.synchronous = synchronous;
        let info = backend(config).init(SchemaPolicy::Upgrade).await.unwrap();
        assert_eq!(info.capabilities.durability, durability);
        assert!(info.engine.starts_with("SQLite 3."));
    }
}
