//! What cannot be a store is refused with a message that says what to do, and stays as it is.

use aqevia_storage::{ErrorKind, SchemaPolicy, StorageBackend, StorageConfig};
use aqevia_storage_postgres::{PostgresConfig, SslMode};
use conformance::{Harness, Scene};

use crate::store::{Database, Schema, arda, backend, claim, open, run, sql, texts, try_sql};

const POLICIES: [SchemaPolicy; 2] = [SchemaPolicy::Upgrade, SchemaPolicy::ResetInDevelopment];

/// Asserts that `init` is refused, and what the message says and does not say.
pub(crate) async fn refused(
    config: PostgresConfig,
    policy: SchemaPolicy,
    kind: ErrorKind,
    says: &[&str],
) {
    let store = backend(config.clone());
    let error = store.init(policy).await.unwrap_err();
    store.close().await.unwrap();
    assert_eq!(error.kind(), kind, "{error:?}");
    let begin = format!("{config}: ");
    assert!(error.to_string().starts_with(&begin), "{error}");
    for words in says {
        assert!(
            error.to_string().contains(words),
            "{words:?} is missing: {error}"
        );
    }
    if let Some(password) = config.password {
        let shown = format!("{error} {error:?} {error:#?}");
        assert!(!shown.contains(&password), "the password is shown");
    }
    assert_eq!(store.stats().errors.of(kind), 1);
}

/// Asserts that the schema is refused as another program's, and what the message says.
pub(crate) async fn refused_as_anothers(config: PostgresConfig, says: &[&str]) {
    refused(config, SchemaPolicy::Upgrade, ErrorKind::Incompatible, says).await;
}

/// Asserts that `init` is refused, and that nothing in the schema changes.
async fn untouched(schema: &Schema, policy: SchemaPolicy, kind: ErrorKind, says: &[&str]) {
    let before = schema.harness().dump().await;
    refused(schema.config(), policy, kind, says).await;
    assert!(
        schema.harness().dump().await == before,
        "the schema changed"
    );
}

#[tokio::test]
async fn a_schema_of_another_program_is_refused_by_its_tables() {
    let schema = Schema::new().await;
    schema.harness().stage(Scene::Foreign).await;
    for policy in POLICIES {
        let says = ["another program's", "\"birds\"", "choose another schema"];
        untouched(&schema, policy, ErrorKind::Incompatible, &says).await;
    }
}

#[tokio::test]
async fn a_schema_of_another_program_is_refused_by_whatever_is_in_it() {
    for (object, shown) in [
        (
            "CREATE FUNCTION fly() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
            "fly()",
        ),
        (
            "CREATE PROCEDURE land(integer) LANGUAGE sql AS 'SELECT 1'",
            "land(integer)",
        ),
        ("CREATE TYPE mood AS ENUM ('calm')", "mood"),
        ("CREATE TYPE pair AS (one text, other text)", "pair"),
        ("CREATE DOMAIN wing AS text", "wing"),
        ("CREATE TYPE flight AS RANGE (SUBTYPE = integer)", "flight"),
        ("CREATE TYPE egg", "egg"),
        ("CREATE COLLATION song FROM \"C\"", "song"),
        (
            "CREATE OPERATOR === (FUNCTION = texteq, LEFTARG = text, RIGHTARG = text)",
            "===",
        ),
        (
            "CREATE TEXT SEARCH DICTIONARY nest (TEMPLATE = simple)",
            "nest",
        ),
    ] {
        let schema = Schema::new().await;
        let name = schema.config().schema;
        let create = format!("CREATE SCHEMA {name}; SET search_path = {name}; {object}");
        run(&mut schema.sql().await, &create).await;
        for policy in POLICIES {
            let says = ["another program's", shown, "choose another schema"];
            untouched(&schema, policy, ErrorKind::Incompatible, &says).await;
        }
    }
}

#[tokio::test]
async fn a_schema_of_an_extension_is_another_program_s() {
    let database = Database::new("").await;
    let create = "CREATE SCHEMA aqevia; CREATE EXTENSION pg_trgm SCHEMA aqevia";
    run(&mut sql(&database.config).await, create).await;
    let says = ["another program's", "choose another schema"];
    let config = database.config.clone();
    refused_as_anothers(config, &says).await;
}

#[tokio::test]
async fn a_schema_with_default_privileges_alone_is_empty() {
    let schema = Schema::new().await;
    let name = schema.config().schema;
    let create = format!(
        "CREATE SCHEMA {name};
         ALTER DEFAULT PRIVILEGES IN SCHEMA {name} GRANT SELECT ON TABLES TO PUBLIC"
    );
    run(&mut schema.sql().await, &create).await;
    open(schema.config()).await.close().await.unwrap();
}

#[tokio::test]
async fn a_stamp_of_another_program_is_not_ours() {
    for table in [
        "CREATE TABLE schema_meta (id integer, version integer)",
        "CREATE TABLE schema_meta (id integer, application text, version integer);
         INSERT INTO schema_meta VALUES (1, 'other', 1)",
        "CREATE TABLE schema_meta (application text, id text, version text);
         INSERT INTO schema_meta VALUES ('other', 'a', 'b')",
        "CREATE TABLE schema_meta (application integer, id integer, version integer);
         INSERT INTO schema_meta VALUES (1, 1, 1)",
    ] {
        let schema = Schema::new().await;
        schema.harness().stage(Scene::Foreign).await;
        run(&mut schema.sql().await, table).await;
        for policy in POLICIES {
            let says = ["another program's"];
            untouched(&schema, policy, ErrorKind::Incompatible, &says).await;
        }
    }
}

#[tokio::test]
async fn a_newer_layout_names_both_versions() {
    let schema = Schema::new().await;
    schema.harness().stage(Scene::NewerLayout).await;
    let says = [
        "version 2",
        "knows version 1",
        "use the aqevia-storage that wrote it",
    ];
    untouched(
        &schema,
        SchemaPolicy::Upgrade,
        ErrorKind::Incompatible,
        &says,
    )
    .await;
}

#[tokio::test]
async fn a_store_of_ours_that_lacks_something_is_damaged() {
    for (damage, says) in [
        ("DELETE FROM schema_meta", "holds no version"),
        ("DROP TABLE world_state", "its table world_state is missing"),
    ] {
        let schema = Schema::new().await;
        open(schema.config()).await.close().await.unwrap();
        run(&mut schema.sql().await, damage).await;
        for policy in POLICIES {
            let says = [says, "restore it from a copy"];
            untouched(&schema, policy, ErrorKind::Corrupt, &says).await;
        }
    }
}

#[tokio::test]
async fn a_view_of_somebody_else_stops_a_reset_and_stays() {
    let schema = Schema::new().await;
    schema.harness().stage(Scene::NewerLayout).await;
    run(
        &mut schema.sql().await,
        "CREATE VIEW watched AS SELECT world_id FROM worlds",
    )
    .await;
    let says = ["something that is not ours depends on a table"];
    untouched(
        &schema,
        SchemaPolicy::ResetInDevelopment,
        ErrorKind::Incompatible,
        &says,
    )
    .await;
}

#[tokio::test]
async fn a_database_in_another_encoding_is_refused() {
    let database = Database::new("ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'").await;
    let says = ["the encoding of the database is LATIN1", "ENCODING 'UTF8'"];
    refused(
        database.config.clone(),
        SchemaPolicy::Upgrade,
        ErrorKind::Incompatible,
        &says,
    )
    .await;
}

#[tokio::test]
async fn a_missing_database_is_to_be_created() {
    let mut config = Schema::new().await.config();
    config.database = "aqevia_missing".to_owned();
    let says = ["the database is not there: create it, or correct the URL"];
    refused(config, SchemaPolicy::Upgrade, ErrorKind::Invalid, &says).await;
}

#[tokio::test]
async fn a_role_that_cannot_log_in_is_invalid() {
    let mut config = Schema::new().await.config();
    config.user = "aqevia_missing".to_owned();
    let says = ["the server refuses the login"];
    refused(config, SchemaPolicy::Upgrade, ErrorKind::Invalid, &says).await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_by_a_server_that_asks_for_one() {
    let database = Database::new("").await;
    let mut outside = database.outside().await;
    let role = format!("{}_role", database.config.database);
    run(
        &mut outside,
        &format!("CREATE ROLE {role} LOGIN PASSWORD 'secret-5c1d'"),
    )
    .await;
    let mut config = database.config.clone();
    config.user = role.clone();
    config.password = Some("wrong-7f3a".to_owned());
    // A server that trusts everyone lets the role in, which may then make no schema.
    let says = match try_sql(&config).await {
        Ok(_) => "grant it the rights that the README lists",
        Err(_) => "the server refuses the login: correct user and password",
    };
    refused(config, SchemaPolicy::Upgrade, ErrorKind::Invalid, &[says]).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let mut config = Schema::new().await.config();
    // Nobody listens on a port that was just given back.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    (config.host, config.port) = (
        "127.0.0.1".to_owned(),
        listener.local_addr().unwrap().port(),
    );
    drop(listener);
    let says = ["the server cannot be reached", "see that it runs"];
    refused(config, SchemaPolicy::Upgrade, ErrorKind::Unavailable, &says).await;
}

#[tokio::test]
async fn a_read_only_database_is_unavailable_at_the_start_and_later() {
    let database = Database::new("").await;
    let store = open(database.config.clone()).await;
    let name = &database.config.database;
    let mut outside = database.outside().await;
    let set = |value| format!("ALTER DATABASE {name} SET default_transaction_read_only = {value}");
    run(&mut outside, &set("on")).await;
    let says = ["25006", "connect to the primary"];
    refused(
        database.config.clone(),
        SchemaPolicy::Upgrade,
        ErrorKind::Unavailable,
        &says,
    )
    .await;

    // A session that was there before is not told; so it is ended.
    let end = format!(
        "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE datname = '{name}'"
    );
    texts(&mut outside, &end).await;
    let mut kinds = Vec::new();
    for _ in 0..2 {
        kinds.push(claim(&store, &arda()).await.unwrap_err().kind());
    }
    // The first may have found its session gone while it was being used.
    assert!(
        matches!(kinds[0], ErrorKind::Ambiguous | ErrorKind::Unavailable),
        "{kinds:?}"
    );
    assert_eq!(kinds[1], ErrorKind::Unavailable);
    run(&mut outside, &set("off")).await;
    claim(&store, &arda()).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_role_without_rights_is_told_so_and_works_on_a_layout_that_is_there() {
    let database = Database::new("").await;
    let mut outside = database.outside().await;
    let role = format!("{}_role", database.config.database);
    run(
        &mut outside,
        &format!("CREATE ROLE {role} LOGIN PASSWORD 'secret-5c1d'"),
    )
    .await;
    let mut config = database.config.clone();
    (config.user, config.password) = (role.clone(), Some("secret-5c1d".to_owned()));
    let says = ["grant it the rights that the README lists"];
    refused(
        config.clone(),
        SchemaPolicy::Upgrade,
        ErrorKind::Invalid,
        &says,
    )
    .await;

    open(database.config.clone()).await.close().await.unwrap();
    let grant = format!(
        "GRANT USAGE ON SCHEMA aqevia TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA aqevia TO {role}"
    );
    run(&mut sql(&database.config).await, &grant).await;
    let store = open(config).await;
    let mut writer = crate::store::Writer::claim(&store, &arda()).await;
    writer
        .persist(vec![crate::store::put(
            &arda(),
            "a",
            crate::store::json("1"),
        )])
        .await
        .unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_is_asked_of_a_connection_is_upheld() {
    let schema = Schema::new().await;
    let with = |mode| {
        let mut config = schema.config();
        config.tls.mode = mode;
        config
    };
    let says = ["the connection cannot be encrypted: correct sslmode, sslrootcert"];
    let encrypts = "SELECT current_setting('ssl')";
    if texts(&mut schema.sql().await, encrypts).await == ["on"] {
        open(with(SslMode::Require)).await.close().await.unwrap();
    } else {
        let config = with(SslMode::Require);
        refused(config, SchemaPolicy::Upgrade, ErrorKind::Invalid, &says).await;
    }
    // No authority of the system's vouches for the certificate of a test server.
    let config = with(SslMode::VerifyFull);
    refused(config, SchemaPolicy::Upgrade, ErrorKind::Invalid, &says).await;
    open(with(SslMode::Prefer)).await.close().await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_named() {
    let mut config = Schema::new().await.config();
    config.tls.root_cert = Some("/missing/root.pem".into());
    let says = ["\"/missing/root.pem\" cannot be read"];
    refused(config, SchemaPolicy::Upgrade, ErrorKind::Invalid, &says).await;
}

#[tokio::test]
async fn the_longest_durations_are_what_the_server_takes() {
    let schema = Schema::new().await;
    let mut config = schema.config();
    config.snapshot_age_max = StorageConfig::DURATION_MAX;
    config.statement_timeout = Some(StorageConfig::DURATION_MAX);
    config.lock_timeout = Some(StorageConfig::DURATION_MAX);
    config.reply_timeout = StorageConfig::DURATION_MAX;
    let store = open(config).await;
    store.snapshot(&arda()).await.unwrap();
    store.close().await.unwrap();
}
