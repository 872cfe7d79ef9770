//! Finding a server to test on.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use sqlx::{Connection, PgConnection};
use testcontainers::bollard::Docker;
use tokio::task::spawn_blocking;

use super::container::{Server, Terms, use_server};
use super::{image, owner};

/// A server to test on, as the URL of a database in which schemas may be made.
pub(super) const URL_VARIABLE: &str = "AQEVIA_TEST_POSTGRES_URL";

/// The seconds between two test binaries of one run are fewer.
const SHARED: Terms = Terms {
    own: false,
    patience: 3,
    bytes: None,
};

/// A server that goes before the variable.
static GIVEN: OnceLock<String> = OnceLock::new();

/// Tests on the server of a URL, whatever the environment says. Only the first call counts, and
/// only before the first harness.
pub fn test_on(url: String) {
    let _ = GIVEN.set(url);
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
    let variable = || env::var(URL_VARIABLE).ok();
    let mut found = match GIVEN.get().cloned().or_else(variable) {
        Some(url) => given(url).await?,
        None => shared().await?,
    };
    check_durability(&mut found.sql).await?;
    Ok(found)
}

async fn given(url: String) -> Result<Found, String> {
    let sql = PgConnection::connect(&url)
        .await
        .map_err(|error| format!("the server to test on cannot be reached: {error}"))?;
    Ok(Found {
        sql,
        url,
        _container: None,
    })
}

/// The server that all test processes of this user share, each with a connection that shows its
/// use. The first one starts it and notes where it is.
async fn shared() -> Result<Found, String> {
    let engine = engine().await?;
    let (mut note, noted) = Note::open().await?;
    let image = image::find(&engine).await?;
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
    let engine = engine().await?;
    let (note, _) = Note::open().await?;
    let image = image::find(&engine).await?;
    drop(note);
    Server::start(&image, terms).await
}

/// The container engine, without the containers whose process has gone.
async fn engine() -> Result<Docker, String> {
    let engine = image::engine().await?;
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
