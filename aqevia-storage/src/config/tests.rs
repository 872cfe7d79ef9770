//! Settings from each of their sources.

use super::variables::{ENCRYPTION_KEY_FILE, POSTGRES};
use super::*;
use crate::ErrorKind;

fn from(vars: &[(&str, &str)]) -> Result<StorageConfig> {
    let vars = vars.iter();
    StorageConfig::from_vars(vars.map(|(name, value)| (name.to_string(), value.to_string())))
}

#[test]
fn an_empty_environment_gives_the_defaults() {
    let config = from(&[]).unwrap();
    assert_eq!(config.url, StoreUrl::from_path("sqlite", "storage.sqlite"));
    assert_eq!(config.pool, PoolConfig::default());
    assert_eq!(config.controller.batch_capacity, 10);
}

#[test]
fn each_variable_moves_its_setting() {
    let config = from(&[
        ("AQEVIA_STORAGE_URL", "memory:"),
        ("AQEVIA_SQLITE_PATH", "ignored"),
        ("AQEVIA_SCHEMA_POLICY", "reset-in-development"),
        ("AQEVIA_POOL_SIZE", "3"),
        ("AQEVIA_ACQUIRE_TIMEOUT_MS", "4"),
        ("AQEVIA_CONNECTION_LIFETIME_MS", "5"),
        ("AQEVIA_BUSY_TIMEOUT_MS", "12"),
        ("PERSIST_FLUSH_INTERVAL_MS", "6"),
        ("PERSIST_BATCH_CAPACITY", "7"),
        ("PERSIST_BATCH_CAPACITY_BYTES", "8"),
        ("PERSIST_SHUTDOWN_TIMEOUT_MS", "9"),
        ("PERSIST_MAX_PENDING_RECORDS", "10"),
        ("PERSIST_MAX_PENDING_BYTES", "11"),
        ("PERSIST_AUTO_SAVE_INTERVAL_MS", "13"),
        ("PERSIST_RETRY_FIRST_MS", "14"),
        ("PERSIST_RETRY_LONGEST_MS", "15"),
        ("PERSIST_RETRY_BUDGET_MS", "16"),
        ("PERSIST_MAX_EXPOSURE_MS", "17"),
        ("PERSIST_COALESCING", "false"),
        ("PERSIST_START_DEGRADED", "true"),
        ("PERSIST_MAX_BATCH_RECORDS", "18"),
        ("PERSIST_MAX_BATCH_BYTES", "19"),
        ("PERSIST_OWNER", "the engine"),
        ("PERSIST_CACHE_MAX_BYTES", "20"),
        ("PERSIST_CACHE_MAX_WORLDS", "21"),
        ("PERSIST_CACHE_MAX_IDLE_MS", "22"),
    ])
    .unwrap();
    let ms = Duration::from_millis;
    assert_eq!(config.url.scheme(), "memory");
    assert_eq!(
        config.pool,
        PoolConfig {
            size: 3,
            acquire_timeout: ms(4),
            connection_lifetime: ms(5),
            busy_timeout: ms(12),
        }
    );
    let to = config.controller;
    assert_eq!(to.schema_policy, SchemaPolicy::ResetInDevelopment);
    assert_eq!((to.flush_interval, to.shutdown_timeout), (ms(6), ms(9)));
    assert_eq!((to.batch_capacity, to.batch_capacity_bytes), (7, 8));
    assert_eq!((to.pending_records_max, to.pending_bytes_max), (10, 11));
    assert_eq!((to.auto_save_interval, to.retry_first), (ms(13), ms(14)));
    assert_eq!((to.retry_longest, to.retry_budget), (ms(15), Some(ms(16))));
    assert_eq!((to.exposure_max, to.coalescing), (Some(ms(17)), false));
    assert!(to.start_degraded);
    assert_eq!((to.batch_records_max, to.batch_bytes_max), (18, 19));
    assert_eq!(to.owner.as_str(), "the engine");
    assert_eq!(
        config.cache,
        CacheConfig {
            bytes_max: 20,
            worlds_max: Some(21),
            idle_max: Some(ms(22)),
        }
    );
}

#[test]
fn a_path_is_taken_as_it_is() {
    let config = from(&[("AQEVIA_SQLITE_PATH", "100%?.sqlite")]).unwrap();
    assert_eq!(config.url.path().unwrap(), "100%?.sqlite");
}

#[test]
fn variables_of_postgres_are_parameters_that_its_url_does_not_give() {
    let vars = |url: &str| {
        from(&[
            ("AQEVIA_STORAGE_URL", url),
            ("AQEVIA_POSTGRES_APPLICATION_NAME", "a & b"),
            ("AQEVIA_POSTGRES_IDLE_IN_TRANSACTION_TIMEOUT_MS", "1"),
            ("AQEVIA_POSTGRES_LOCK_TIMEOUT_MS", "2"),
            ("AQEVIA_POSTGRES_REPLY_TIMEOUT_MS", "4"),
            ("AQEVIA_POSTGRES_SCHEMA", "galaxy"),
            ("AQEVIA_POSTGRES_STATEMENT_TIMEOUT_MS", "3"),
        ])
    };
    let plain = "a@b/c?application_name=a%20%26%20b&idle_in_transaction_timeout_ms=1\
                 &lock_timeout_ms=2&reply_timeout_ms=4&schema=galaxy\
                 &statement_timeout_ms=3";
    for scheme in POSTGRES {
        let expected: StoreUrl = format!("{scheme}://{plain}").parse().unwrap();
        assert_eq!(vars(&format!("{scheme}://a@b/c")).unwrap().url, expected);
    }
    let own = vars("postgres://a@b/c?schema=own").unwrap().url;
    let schema = own
        .parameters()
        .take("schema", "", |text| Some(text.to_owned()));
    assert_eq!(schema.unwrap().as_deref(), Some("own"));
    assert_eq!(vars("sqlite:a").unwrap().url, "sqlite:a".parse().unwrap());
    let wrong = ("AQEVIA_POSTGRES_LOCK_TIMEOUT_MS", "1s");
    let error = from(&[("AQEVIA_STORAGE_URL", "postgres://a@b/c"), wrong]).unwrap_err();
    let begin = "environment variable AQEVIA_POSTGRES_LOCK_TIMEOUT_MS=1s: must be ";
    assert!(error.to_string().starts_with(begin), "{error}");
}

#[test]
fn persisting_switched_off_is_the_null_store() {
    let config = from(&[("PERSIST_ENABLED", "false")]).unwrap();
    assert_eq!(config.url.scheme(), "null");
}

#[test]
fn a_value_that_does_not_parse_is_named_with_what_is_allowed() {
    for (name, value) in [
        ("PERSIST_BATCH_CAPACITY", "0"),
        ("PERSIST_FLUSH_INTERVAL_MS", "1s"),
        ("PERSIST_ENABLED", "yes"),
        ("AQEVIA_SCHEMA_POLICY", "drop"),
        ("AQEVIA_POOL_SIZE", "-1"),
    ] {
        let error = from(&[(name, value)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let begin = format!("environment variable {name}={value}: must be ");
        assert!(error.to_string().starts_with(&begin), "{error}");
    }
    assert!(from(&[("AQEVIA_STORAGE_URL", "storage.sqlite")]).is_err());
    let encryption = from(&[(ENCRYPTION_KEY_FILE, "key")]).unwrap_err();
    assert_eq!(encryption.kind(), ErrorKind::Unsupported);
}

#[test]
fn an_unknown_variable_with_our_prefix_names_the_nearest() {
    let names = ["PATH", "PERSIST_BATCH_CAPACITY", "PERSIST_BATCHCAPACITY"];
    assert_eq!(
        unknown_variables(names),
        [
            "environment variable PERSIST_BATCHCAPACITY is not known; is \
             PERSIST_BATCH_CAPACITY meant?"
        ]
    );
}

#[test]
fn settings_over_their_limits_are_refused() {
    let config = ControllerConfig {
        batch_records_max: Part::RECORDS_MAX + 1,
        ..ControllerConfig::default()
    };
    let error = config.check().unwrap_err();
    assert!(error.to_string().contains("batch_records_max"), "{error}");
}

#[test]
fn a_url_gives_settings_of_the_controller_before_the_environment() {
    let text = "sqlite:a.sqlite?pool_size=3&persist_batch_capacity=7&persist_coalescing=false";
    let env = [
        ("AQEVIA_STORAGE_URL", text),
        ("PERSIST_BATCH_CAPACITY", "9"),
    ];
    for config in [from(&env), StorageConfig::from_url(text)] {
        let config = config.unwrap();
        assert_eq!(config.url, "sqlite:a.sqlite?pool_size=3".parse().unwrap());
        assert_eq!(config.controller.batch_capacity, 7);
        assert!(!config.controller.coalescing);
    }
    let off = StorageConfig::from_url("sqlite:a.sqlite?persist_enabled=false").unwrap();
    assert_eq!(off.url.scheme(), "null");
}

#[test]
fn a_setting_in_a_url_that_is_wrong_is_named() {
    let error = |text| StorageConfig::from_url(text).unwrap_err().to_string();
    let zero = error("memory:?persist_batch_capacity=0");
    let begin = "store URL memory:: parameter persist_batch_capacity=0: must be ";
    assert!(zero.starts_with(begin), "{zero}");
    let unknown = error("memory:?persist_batchcapacity=1");
    assert!(
        unknown.contains("is persist_batch_capacity meant?"),
        "{unknown}"
    );
}
