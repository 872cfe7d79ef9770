//! Settings from URLs.

use std::time::Duration;

use aqevia_storage::{Durability, ErrorKind, PoolConfig, Result, SchemaPolicy, StorageBackend};
use aqevia_storage_sled::{Permissions, Sled, SledConfig};

use crate::store::{Folder, backend};

fn from_url(url: &str) -> Result<SledConfig> {
    SledConfig::from_url(&url.parse().unwrap(), &PoolConfig::default())
}

#[test]
fn a_url_without_parameters_gives_the_defaults() {
    let config = from_url("sled:a%20b.sled").unwrap();
    assert_eq!(config, SledConfig::new("a b.sled"));
    assert_eq!(config.cache_mib, 64);
    assert_eq!(config.insecure_permissions, Permissions::Refuse);
}

#[test]
fn each_parameter_moves_its_setting() {
    let config = from_url(
        "sled:a?pool_size=3&acquire_timeout_ms=4&connection_lifetime_ms=5&busy_timeout_ms=6\
         &cache_mib=8&insecure_permissions=allow&snapshot_age_max_ms=7",
    )
    .unwrap();
    let ms = Duration::from_millis;
    let mut expected = SledConfig::new("a");
    expected.pool.size = 3;
    expected.pool.acquire_timeout = ms(4);
    expected.pool.connection_lifetime = ms(5);
    expected.pool.busy_timeout = ms(6);
    expected.cache_mib = 8;
    expected.insecure_permissions = Permissions::Allow;
    expected.snapshot_age_max = ms(7);
    assert_eq!(config, expected);
}

#[test]
fn the_pool_of_the_caller_stands_where_the_url_says_nothing() {
    let mut pool = PoolConfig::default();
    pool.size = 2;
    pool.acquire_timeout = Duration::from_secs(1);
    let url = "sled:a?pool_size=3".parse().unwrap();
    let config = SledConfig::from_url(&url, &pool).unwrap();
    assert_eq!(config.pool.size, 3);
    assert_eq!(config.pool.acquire_timeout, Duration::from_secs(1));
}

#[test]
fn what_is_not_allowed_is_named_with_what_is() {
    for (url, says) in [
        ("sled:", "write for example `sled:storage.sled`"),
        (
            "sled:a?synchronous=full",
            "parameter \"synchronous\" is not known; there are pool_size",
        ),
        ("sled:a?insecure_permissions=yes", "must be refuse or allow"),
        (
            "sled:a?busy_timeout_ms=99999999999",
            "must be a whole number of milliseconds",
        ),
        (
            "sled:a?pool_size=1001",
            "pool_size is 1001, must be from 1 to 1000",
        ),
        ("sled:a?cache_mib=0", "must be a whole number from 1"),
        (
            "sled:a?cache_mib=1048577",
            "cache_mib is 1048577, must be from 1 to 1048576",
        ),
    ] {
        let error = from_url(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn settings_from_code_are_checked_too() {
    let mut config = SledConfig::new("a");
    config.pool.size = 0;
    assert_eq!(Sled::open(config).unwrap_err().kind(), ErrorKind::Invalid);
    let mut config = SledConfig::new("a");
    config.cache_mib = 0;
    assert_eq!(Sled::open(config).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(Sled::open(SledConfig::new("")).is_err());
}

#[test]
fn a_backend_touches_nothing_before_init() {
    let folder = Folder::new();
    drop(backend(folder.config()));
    assert!(!folder.store().exists());
}

#[tokio::test]
async fn the_least_cache_and_the_most_are_taken() {
    for cache_mib in [1, SledConfig::CACHE_MIB_MAX] {
        let folder = Folder::new();
        let mut config = folder.config();
        config.cache_mib = cache_mib;
        let info = backend(config).init(SchemaPolicy::Upgrade).await.unwrap();
        assert_eq!(info.capabilities.durability, Durability::Power);
        assert_eq!(info.engine, "sled 0.34.7");
    }
}
