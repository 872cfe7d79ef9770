//! A place for one store of ours, and what the store takes up and writes there.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;

/// Where a store is made, and taken away.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) url: String,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    Folder(TempDir),
    Schema { server: String, schema: String },
}

/// Bytes of the tables of a schema with their indexes, and of the database.
const SIZES: &str = "
SELECT coalesce(sum(pg_total_relation_size(pg_class.oid)), 0)::int8,
    pg_database_size(current_database())
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = $1 AND relkind = 'r'";

/// Bytes that the server has written to its log, ever.
const LOGGED: &str = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8";

impl Place {
    /// A folder that is gone when this is dropped.
    pub(crate) fn folder(scheme: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let url = format!("{scheme}:{}", folder.path().join("ours").display());
        let kept = Kept::Folder(folder);
        Ok(Self { url, kept })
    }

    /// A schema of a server.
    pub(crate) fn schema(server: String, schema: String) -> Self {
        let separator = if server.contains('?') { '&' } else { '?' };
        let url = format!("{server}{separator}schema={schema}");
        let kept = Kept::Schema { server, schema };
        Self { url, kept }
    }

    /// The bytes that the store takes up, with its indexes and logs.
    pub(crate) async fn bytes(&self) -> Result<u64> {
        match &self.kept {
            Kept::Folder(folder) => folder_bytes(folder.path()),
            Kept::Schema { server, schema } => Ok(sizes(server, schema).await?.0),
        }
    }

    /// The bytes of the whole database, if the store is a part of one.
    pub(crate) async fn database_bytes(&self) -> Result<Option<u64>> {
        match &self.kept {
            Kept::Folder(_) => Ok(None),
            Kept::Schema { server, schema } => Ok(Some(sizes(server, schema).await?.1)),
        }
    }

    /// The bytes that were written to disk so far, by this process or by the server: the difference
    /// of two is what lies between them. None where the system does not tell.
    ///
    /// Of a server they are its log and the growth of the tables. Pages that it writes again are not
    /// known.
    pub(crate) async fn written(&self) -> Result<Option<u64>> {
        match &self.kept {
            Kept::Folder(_) => Ok(written_by("/proc/self/io")),
            Kept::Schema { server, schema } => {
                let mut connection = PgConnection::connect(server).await?;
                let query = sqlx::query_scalar(LOGGED);
                let logged: i64 = query.fetch_one(&mut connection).await?;
                Ok(Some(logged as u64 + sizes(server, schema).await?.0))
            }
        }
    }

    /// Whether what this process writes counts as written.
    pub(crate) const fn is_folder(&self) -> bool {
        matches!(self.kept, Kept::Folder(_))
    }

    /// Takes away the store, which nobody has open.
    pub(crate) async fn remove(self) -> Result<()> {
        match self.kept {
            Kept::Folder(folder) => folder.close()?,
            Kept::Schema { server, schema } => {
                let mut connection = PgConnection::connect(&server).await?;
                let drop = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
                connection
                    .execute(sqlx::raw_sql(AssertSqlSafe(drop)))
                    .await?;
            }
        }
        Ok(())
    }
}

/// What a process or a thread has had written to disks, as Linux counts it.
pub(crate) fn written_by(path: &str) -> Option<u64> {
    let counts = fs::read_to_string(path).ok()?;
    let count = |line: &str| line.strip_prefix("write_bytes: ")?.parse().ok();
    counts.lines().find_map(count)
}

fn folder_bytes(path: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path).with_context(|| format!("read {}", path.display()))? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += match metadata.is_dir() {
            true => folder_bytes(&entry.path())?,
            false => metadata.len(),
        };
    }
    Ok(bytes)
}

async fn sizes(server: &str, schema: &str) -> Result<(u64, u64)> {
    let mut connection = PgConnection::connect(server).await?;
    let query = sqlx::query_as(SIZES).bind(schema);
    let (store, database): (i64, i64) = query.fetch_one(&mut connection).await?;
    Ok((store as u64, database as u64))
}
