//! Postgres by hand: one statement a batch, which commits by itself, with arrays for its rows, and a
//! flag that says which of them is the last of its key.
//!
//! The promises are ours: log, state, the world's row with epoch and number, and a row a batch with
//! its digest.

use anyhow::{Result, ensure};
use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::{digest, last_of_keys};
use crate::side::Side;
use crate::workload::{Kind, Row};

const LAYOUT: &str = "
DROP SCHEMA IF EXISTS by_hand CASCADE;
CREATE SCHEMA by_hand;
SET search_path = by_hand;
CREATE TABLE worlds (world int PRIMARY KEY, epoch bigint NOT NULL, last bigint NOT NULL,
    head bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE batches (world int NOT NULL, number bigint NOT NULL, epoch bigint NOT NULL,
    first bigint NOT NULL, count bigint NOT NULL, digest bytea NOT NULL,
    PRIMARY KEY (world, number));
CREATE TABLE log (world int NOT NULL, sequence bigint NOT NULL, timestamp bigint NOT NULL,
    collection smallint NOT NULL, key text COLLATE \"C\", payload text COLLATE \"C\" NOT NULL,
    PRIMARY KEY (world, sequence));
CREATE TABLE state (world int NOT NULL, collection smallint NOT NULL, key text COLLATE \"C\" NOT NULL,
    sequence bigint NOT NULL, timestamp bigint NOT NULL, payload text COLLATE \"C\" NOT NULL,
    PRIMARY KEY (world, collection, key)) WITH (fillfactor = 70);
INSERT INTO worlds VALUES (1, 1, 0, 0);";

const WRITE: &str = "
WITH world AS (
    UPDATE worlds SET last = last + 1, head = head + $3
    WHERE world = 1 AND epoch = $1 AND last = $2
    RETURNING last, head - $3 AS head
),
row AS MATERIALIZED (
    SELECT row.*, world.head + row.position AS sequence
    FROM unnest($5::bigint[], $6::bigint[], $7::smallint[], $8::text[], $9::text[], $10::boolean[],
        $11::boolean[]) AS row (position, timestamp, collection, key, payload, logged, moves)
    CROSS JOIN world
),
logged AS (
    INSERT INTO log SELECT 1, sequence, timestamp, collection, key, payload FROM row WHERE logged
),
moved AS (
    INSERT INTO state SELECT 1, collection, key, sequence, timestamp, payload FROM row WHERE moves
    ON CONFLICT (world, collection, key) DO UPDATE SET sequence = excluded.sequence,
        timestamp = excluded.timestamp, payload = excluded.payload
)
INSERT INTO batches SELECT 1, last, $1, head + 1, $3, $4 FROM world";

/// A schema of a server.
pub(crate) struct HandPostgres {
    connection: PgConnection,
    last: i64,
    prepared: Vec<Vec<Row>>,
}

impl HandPostgres {
    /// A new schema.
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let mut connection = PgConnection::connect(url).await?;
        connection.execute(sqlx::raw_sql(LAYOUT)).await?;
        Ok(Self {
            connection,
            last: 0,
            prepared: Vec::new(),
        })
    }

    async fn persist(&mut self, rows: &[Row]) -> Result<()> {
        let moves = last_of_keys(rows);
        let logged: Vec<bool> = rows.iter().map(|row| row.kind != Kind::Latest).collect();
        let written = sqlx::query(AssertSqlSafe(WRITE))
            .bind(1_i64)
            .bind(self.last)
            .bind(rows.len() as i64)
            .bind(digest(rows).as_bytes().to_vec())
            .bind((1..=rows.len() as i64).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.timestamp).collect::<Vec<_>>())
            .bind(
                rows.iter()
                    .map(|row| i16::from(row.collection))
                    .collect::<Vec<_>>(),
            )
            .bind(
                rows.iter()
                    .map(|row| row.key.as_deref())
                    .collect::<Vec<_>>(),
            )
            .bind(
                rows.iter()
                    .map(|row| row.payload.as_str())
                    .collect::<Vec<_>>(),
            )
            .bind(logged)
            .bind(moves)
            .execute(&mut self.connection)
            .await?;
        ensure!(written.rows_affected() == 1, "fenced");
        self.last += 1;
        Ok(())
    }
}

#[async_trait]
impl Side for HandPostgres {
    fn prepare(&mut self, batches: &[Vec<Row>]) -> Result<()> {
        self.prepared = batches.to_vec();
        Ok(())
    }

    async fn write(&mut self) -> Result<()> {
        for rows in std::mem::take(&mut self.prepared) {
            self.persist(&rows).await?;
        }
        Ok(())
    }
}
