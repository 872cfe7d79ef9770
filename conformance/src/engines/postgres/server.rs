//! Finding a server to test on.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use aqevia_storage::{Error, PoolConfig, StoreUrl};
use aqevia_storage_postgres::PostgresConfig;
use sqlx::{Connection, PgConnection};
use testcontainers::bollard::Docker;
use tokio::task::spawn_blocking;

use super::container::{Server, Terms, use_server};
use super::image::{self, Need};
use super::owner;
use crate::suite::on_runtime;

/// A server to test on, as the URL of a database in which schemas may be made.
pub(super) const URL_VARIABLE: &str = "AQEVIA_TEST_POSTGRES_URL";

/// The seconds between two test binaries of one run are fewer.
const SHARED: Terms = Terms {
    own: false,
    patience: 3,
    stays: false,
    bytes: None,
};

/// A server that goes before the variable.
static GIVEN: OnceLock<String> = OnceLock::new();

/// Tests on the server of a URL, whatever the environment says. Only the first call counts, and
/// only before the first harness.
///
/// # Errors
/// If it is not the URL of a server on which the suite can make schemas of its own.
pub fn test_on(url: String) -> Result<(), String> {
    check_url(&url)?;
    let _ = GIVEN.set(url);
    Ok(())
}

/// Looks for the container engine, which the checks of a server's outages need.
///
/// # Errors
/// If there is none; the message says what to do.
pub fn look_for_engine() -> Result<(), String> {
    on_runtime(image::engine(Need::OwnServer)).map(drop)
}

/// The test server and a connection to it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) sql: PgConnection,
    pub(super) url: String,
    /// The container, in the process that started it: it is not to be dropped, since others may
    /// use it.
    pub(super) _container: Option<Server>,
}

/// Finds the server, or starts one in a container; else says what to do to have one.
pub(super) async fn find() -> Result<Found, String> {
    let variable = env::var(URL_VARIABLE).ok();
    let of_variable = |error| format!("{URL_VARIABLE}: {error}");
    let mut found = match (GIVEN.get(), variable.filter(|url| !url.is_empty())) {
        (Some(url), _) => given(url.clone()).await?,
        (None, Some(url)) => given(url).await.map_err(of_variable)?,
        (None, None) => shared().await?,
    };
    check_durability(&mut found.sql).await?;
    Ok(found)
}

/// Checks the URL of a server, and returns it as it may be shown.
fn check_url(url: &str) -> Result<StoreUrl, String> {
    let parsed: StoreUrl = url.parse().map_err(|error: Error| error.to_string())?;
    let mut parameters = parsed.parameters();
    let schema = parameters.take("schema", "left out", |_| None::<()>);
    schema.map_err(|_| {
        format!(
            "store URL {parsed}: leave out the parameter `schema`: each store of the suite is in a \
             schema of its own, which ends with it"
        )
    })?;
    let config = PostgresConfig::from_url(&parsed, &PoolConfig::default());
    config.map_err(|error| error.to_string())?;
    Ok(parsed)
}

async fn given(url: String) -> Result<Found, String> {
    let shown = check_url(&url)?;
    let sql = PgConnection::connect(&url)
        .await
        .map_err(|error| format!("the server {shown} cannot be reached: {error}"))?;
    Ok(Found {
        sql,
        url,
        _container: None,
    })
}

/// The server that all test processes of this user share, each with a connection that shows its
/// use. The first one starts it and notes where it is.
async fn shared() -> Result<Found, String> {
    let engine = engine(Need::Stores).await?;
    let (mut note, noted) = Note::open().await?;
    let image = image::find(&engine, Need::Stores).await?;
    if let Some((noted_image, url)) = noted.split_once('\n')
        && noted_image == image
        && let Ok(sql) = use_server(url).await
    {
        return Ok(Found {
            sql,
            url: url.to_owned(),
            _container: None,
        });
    }
    let (server, sql) = Server::start(&image, SHARED).await?;
    note.write(&format!("{image}\n{}", server.url))?;
    Ok(Found {
        sql,
        url: server.url.clone(),
        _container: Some(server),
    })
}

/// A server that nobody else uses.
pub(super) async fn own(terms: Terms) -> Result<(Server, PgConnection), String> {
    let engine = engine(Need::OwnServer).await?;
    let (note, _) = Note::open().await?;
    let image = image::find(&engine, Need::OwnServer).await?;
    drop(note);
    Server::start(&image, terms).await
}

/// The container engine, without the containers whose process has gone.
async fn engine(need: Need) -> Result<Docker, String> {
    let engine = image::engine(need).await?;
    owner::remove_abandoned(&engine).await?;
    Ok(engine)
}

/// The file that tells where the shared server is. It is locked while it is open.
struct Note(File, PathBuf);

impl Note {
    /// Opens it once no other process has it open, and reads it.
    async fn open() -> Result<(Self, String), String> {
        let opened = spawn_blocking(Self::open_blocking).await;
        opened.map_err(|error| format!("open the note of the test server: {error}"))?
    }

    fn open_blocking() -> Result<(Self, String), String> {
        let user = rustix::process::getuid().as_raw();
        let path = env::temp_dir().join(format!("aqevia-conformance-postgres-{user}"));
        let mut text = String::new();
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| {
                file.lock()?;
                file.read_to_string(&mut text)?;
                Ok(file)
            });
        match opened {
            Ok(file) => Ok((Self(file, path), text)),
            Err(error) => Err(format!("read {}: {error}", path.display())),
        }
    }

    fn write(&mut self, text: &str) -> Result<(), String> {
        let Self(file, path) = self;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(|error| format!("write {}: {error}", path.display()))
    }
}

/// The harness declares that what is acknowledged outlives the loss of power.
async fn check_durability(sql: &mut PgConnection) -> Result<(), String> {
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        let value = sqlx::query_scalar("SELECT current_setting($1)").bind(setting);
        let value: String = value
            .fetch_one(&mut *sql)
            .await
            .map_err(|error| format!("the test server does not tell {setting}: {error}"))?;
        if value == "off" {
            return Err(format!(
                "the test server has {setting} off, and so does not keep what it acknowledges; \
                 switch it on, or test on another server"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_a_schema_is_refused_by_that_name() {
        let matter = check_url("postgres://me:secret@host/db?schema=x").unwrap_err();
        assert!(matter.contains("parameter `schema`"), "{matter}");
        assert!(matter.contains("postgres://…@host/db"), "{matter}");
        assert!(!matter.contains("secret"), "{matter}");
    }

    #[test]
    fn a_url_without_a_user_or_a_scheme_is_refused() {
        assert!(check_url("postgres://me@host/db?sslmode=disable").is_ok());
        for url in ["postgres://host/db", "host=localhost", "postgres://me@host"] {
            assert!(check_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_server_that_cannot_be_reached_is_named_without_its_password() {
        let url = "postgres://me:secret@127.0.0.1:1/db".to_owned();
        let matter = on_runtime(given(url)).unwrap_err();
        assert!(
            matter.contains("…@127.0.0.1:1/db cannot be reached"),
            "{matter}"
        );
        assert!(!matter.contains("secret"), "{matter}");
    }
}
