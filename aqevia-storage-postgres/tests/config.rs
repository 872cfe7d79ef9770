//! Settings from URLs.

use std::time::Duration;

use aqevia_storage::{ErrorKind, PoolConfig, Result, StorageConfig, StoreUrl};
use aqevia_storage_postgres::{Postgres, PostgresConfig, SslMode};

fn from_url(url: &str) -> Result<PostgresConfig> {
    PostgresConfig::from_url(&url.parse().unwrap(), &PoolConfig::default())
}

fn refusal(url: &str) -> String {
    let error = from_url(url).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    format!("{error} {error:?}")
}

#[test]
fn a_url_without_parameters_gives_the_defaults() {
    let config = from_url("postgres://engine:secret@db.example/worlds").unwrap();
    assert_eq!((config.host.as_str(), config.port), ("db.example", 5432));
    assert_eq!(config.user, "engine");
    assert_eq!(config.password.as_deref(), Some("secret"));
    assert_eq!(config.database, "worlds");
    assert_eq!(config.schema, "aqevia");
    assert_eq!(config.application_name, "aqevia-storage");
    assert_eq!(config.pool, PoolConfig::default());
    assert_eq!(config.tls.mode, SslMode::Prefer);
    assert_eq!(
        (config.statement_timeout, config.lock_timeout),
        (None, None)
    );
    assert_eq!(config.snapshot_age_max, Duration::from_secs(60));
    assert_eq!(config.reply_timeout, Duration::from_secs(60));
    assert!(Postgres::open(config).is_ok(), "opening touches nothing");
}

#[test]
fn each_parameter_moves_its_setting() {
    let config = from_url(
        "postgresql://a@b/c?pool_size=3&acquire_timeout_ms=4&connection_lifetime_ms=5\
         &busy_timeout_ms=6&statement_timeout_ms=7&lock_timeout_ms=8\
         &idle_in_transaction_timeout_ms=9&snapshot_age_max_ms=10&reply_timeout_ms=11&schema=_x1\
         &application_name=engine%20one&sslmode=verify-full&sslrootcert=/a%20b.pem\
         &sslcert=c.pem&sslkey=k.pem",
    )
    .unwrap();
    let ms = Duration::from_millis;
    assert_eq!(config.pool.size, 3);
    assert_eq!(config.pool.acquire_timeout, ms(4));
    assert_eq!(config.pool.connection_lifetime, ms(5));
    assert_eq!(config.pool.busy_timeout, ms(6));
    assert_eq!(config.statement_timeout, Some(ms(7)));
    assert_eq!(config.lock_timeout, Some(ms(8)));
    assert_eq!(config.idle_in_transaction_timeout, Some(ms(9)));
    assert_eq!(config.snapshot_age_max, ms(10));
    assert_eq!(config.reply_timeout, ms(11));
    assert_eq!(config.schema, "_x1");
    assert_eq!(config.application_name, "engine one");
    assert_eq!(config.tls.mode, SslMode::VerifyFull);
    assert_eq!(config.tls.root_cert, Some("/a b.pem".into()));
    assert_eq!(config.tls.cert, Some("c.pem".into()));
    assert_eq!(config.tls.key, Some("k.pem".into()));
}

#[test]
fn a_location_may_be_encoded_an_address_or_a_socket() {
    let of = |location: &str| {
        let config = from_url(&format!("postgres://{location}")).unwrap();
        let password = config.password.unwrap_or_default();
        (
            config.host,
            config.port,
            config.user,
            password,
            config.database,
        )
    };
    let expected = |host: &str, port, user: &str, password: &str, database: &str| {
        let owned = str::to_owned;
        (
            owned(host),
            port,
            owned(user),
            owned(password),
            owned(database),
        )
    };
    assert_eq!(of("u:p%40s%2F:@h:1/d"), expected("h", 1, "u", "p@s/:", "d"));
    assert_eq!(of("u@[::1]:6000/d"), expected("::1", 6000, "u", "", "d"));
    assert_eq!(of("u@[::1]/d"), expected("::1", 5432, "u", "", "d"));
    let socket = expected("/run/pg", 5433, "u", "", "d");
    assert_eq!(of("u@%2Frun%2Fpg:5433/d"), socket);
}

#[test]
fn a_url_that_lacks_something_is_told_its_form() {
    for location in [
        "//host/database",
        "//user@host",
        "//user@host/",
        "//user@/database",
        "//:secret@host/database",
        "//user@host:0/database",
        "//user@host:x/database",
        "//user@[::1/database",
    ] {
        let message = refusal(&format!("postgres:{location}"));
        assert!(
            message.contains("postgres://USER:PASSWORD@HOST:PORT/DATABASE"),
            "{message}"
        );
    }
}

#[test]
fn a_parameter_that_is_not_known_or_not_allowed_is_named() {
    let refused = |parameter: &str| refusal(&format!("postgres://u:secret@h/d?{parameter}"));
    let message = refused("colour=red");
    assert!(
        message.contains("parameter \"colour\" is not known; there are pool_size"),
        "{message}"
    );
    assert!(message.contains("sslkey"), "{message}");
    for parameter in [
        "schema=",
        "schema=Aqevia",
        "schema=a%22b",
        "schema=1a",
        "schema=pg_aqevia",
        &format!("schema={}", "a".repeat(64)),
        "application_name=",
        "application_name=%C3%A4",
        "sslmode=yes",
        "sslrootcert=",
        "statement_timeout_ms=1s",
        "pool_size=0",
    ] {
        let name = parameter.split('=').next().unwrap();
        let message = refused(parameter);
        assert!(message.contains(&format!("parameter {name}=")), "{message}");
        assert!(message.contains("must be"), "{message}");
    }
    assert!(refused("pool_size=1001").contains("from 1 to 1000"));
    assert!(refused("sslcert=a.pem").contains("sslcert and sslkey go together"));
}

#[test]
fn no_message_holds_a_control_character() {
    for url in [
        "postgres://u@h/d?application_name=%00",
        "postgres://u@h/d?schema=%1B[31m",
        "postgres://u@h/d?sslmode=%07",
        "postgres://u@h/d?statement_timeout_ms=%00",
        "postgres://u@h/d?pool_size=%0D",
        "postgres://u@h%00/d",
        "postgres://u@h/d%1B",
        "postgres://u%00@h%1B/d",
    ] {
        let shown = match from_url(url) {
            Ok(config) => format!("{config} {config:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!shown.contains(char::is_control), "{url}: {shown:?}");
    }
}

#[test]
fn a_duration_over_the_longest_is_refused_by_its_name() {
    let config = || from_url("postgres://u@h/d").unwrap();
    type Set = fn(&mut PostgresConfig, Duration);
    let settings: [(&str, Set); 5] = [
        ("reply_timeout", |config, to| config.reply_timeout = to),
        ("statement_timeout", |config, to| {
            config.statement_timeout = Some(to);
        }),
        ("lock_timeout", |config, to| config.lock_timeout = Some(to)),
        ("idle_in_transaction_timeout", |config, to| {
            config.idle_in_transaction_timeout = Some(to);
        }),
        ("snapshot_age_max", |config, to| {
            config.snapshot_age_max = to
        }),
    ];
    for (name, set) in settings {
        let mut config = config();
        set(&mut config, StorageConfig::DURATION_MAX);
        assert!(Postgres::open(config.clone()).is_ok(), "{name}");
        set(&mut config, Duration::MAX);
        let error = Postgres::open(config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(&format!("setting {name} is")));
    }
    let message = refusal("postgres://u@h/d?reply_timeout_ms=0");
    assert!(message.contains("must be from 1 to 2147483647 ms"));
}

#[test]
fn no_message_shows_user_or_password() {
    for url in [
        "postgres://hidden:hidden@host/database?colour=red",
        "postgres:hidden:hidden@host/database",
        "postgres://hidden:hidden%40host/database",
        "postgres://hidden:hidden@host",
        "postgres://hidden:hi@hidden@host/database?schema=A",
        "postgres://hidden:hidden%00@host/database",
    ] {
        let message = refusal(url);
        assert!(!message.contains("hidden"), "{message}");
    }
    let url: StoreUrl = "postgres://hidden:hidden@host:1/database?schema=hidden"
        .parse()
        .unwrap();
    let config = PostgresConfig::from_url(&url, &PoolConfig::default()).unwrap();
    let store = Postgres::open(config.clone()).unwrap();
    let shown = format!("{url} {url:?} {config} {config:?} {config:#?} {store:?} {store:#?}");
    assert!(!shown.contains("hidden"), "{shown}");
    assert!(
        shown.contains("open postgres database \"database\" on host:1"),
        "{shown}"
    );
}
