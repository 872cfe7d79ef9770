//! Postgres by hand: one statement a batch, which commits by itself, with arrays for its rows, and a
//! flag that says which of them is the last of its key.
//!
//! The promises are ours: log, state, the world's row with epoch and number, and a row a batch with
//! its digest.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::{digest, last_of_keys};
use crate::side::Persist;
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
INSERT INTO worlds SELECT number, 1, 0, 0 FROM generate_series(1, 64) AS number;";

const EPOCH: i64 = 1;

/// Writes a batch of one world.
const WRITE: &str = "
WITH world AS (
    UPDATE worlds SET last = last + 1, head = head + $4
    WHERE world = $1 AND epoch = $2 AND last = $3
    RETURNING last, head - $4 AS head
),
row AS MATERIALIZED (
    SELECT row.*, world.head + row.position AS sequence
    FROM unnest($6::bigint[], $7::bigint[], $8::smallint[], $9::text[], $10::text[], $11::boolean[],
        $12::boolean[]) AS row (position, timestamp, collection, key, payload, logged, moves)
    CROSS JOIN world
),
logged AS (
    INSERT INTO log SELECT $1, sequence, timestamp, collection, key, payload FROM row WHERE logged
),
moved AS (
    INSERT INTO state SELECT $1, collection, key, sequence, timestamp, payload FROM row WHERE moves
    ON CONFLICT (world, collection, key) DO UPDATE SET sequence = excluded.sequence,
        timestamp = excluded.timestamp, payload = excluded.payload
)
INSERT INTO batches SELECT $1, last, $2, head + 1, $4, $5 FROM world";

/// Writes a batch of several worlds.
const WRITE_WORLDS: &str = "
WITH part AS MATERIALIZED (
    SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[])
        AS part (world, epoch, last, count, digest)
),
world AS (
    UPDATE worlds SET last = part.last + 1, head = head + part.count
    FROM part
    WHERE worlds.world = part.world AND worlds.epoch = part.epoch AND worlds.last = part.last
        AND worlds.world = ANY ($1)
    RETURNING part.*, head - part.count AS head
),
row AS MATERIALIZED (
    SELECT row.*, world.head + row.position AS sequence
    FROM unnest($6::bigint[], $7::bigint[], $8::smallint[], $9::text[], $10::text[], $11::boolean[],
        $12::boolean[], $13::int[])
        AS row (position, timestamp, collection, key, payload, logged, moves, world)
    JOIN world USING (world)
),
logged AS (
    INSERT INTO log SELECT world, sequence, timestamp, collection, key, payload FROM row
    WHERE logged
),
moved AS (
    INSERT INTO state SELECT world, collection, key, sequence, timestamp, payload FROM row
    WHERE moves
    ON CONFLICT (world, collection, key) DO UPDATE SET sequence = excluded.sequence,
        timestamp = excluded.timestamp, payload = excluded.payload
)
INSERT INTO batches SELECT world, last + 1, epoch, head + 1, count, digest FROM world";

/// A schema of a server.
pub(crate) struct HandPostgres {
    connection: PgConnection,
    /// The number of each world's last batch.
    last: HashMap<i32, i64>,
}

impl HandPostgres {
    /// A new schema.
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let mut connection = PgConnection::connect(url).await?;
        connection.execute(sqlx::raw_sql(LAYOUT)).await?;
        Ok(Self {
            connection,
            last: HashMap::new(),
        })
    }
}

impl Persist for HandPostgres {
    type Batch = Vec<Row>;

    fn form(&mut self, rows: &[Row]) -> Result<Self::Batch> {
        Ok(rows.to_vec())
    }

    async fn persist(&mut self, rows: Vec<Row>) -> Result<()> {
        let parts = rows.chunk_by(|row, next| row.world == next.world);
        let parts: Vec<&[Row]> = parts.collect();
        let worlds = each(&parts, |rows| {
            rows.first().map_or(0, |row| row.world as i32)
        });
        let last = each(&worlds, |world| self.last.get(world).copied().unwrap_or(0));
        let write = match (worlds.as_slice(), last.as_slice()) {
            ([world], [last]) => sqlx::query(AssertSqlSafe(WRITE))
                .bind(*world)
                .bind(EPOCH)
                .bind(*last)
                .bind(rows.len() as i64)
                .bind(digest(&rows).as_bytes().to_vec()),
            _ => sqlx::query(AssertSqlSafe(WRITE_WORLDS))
                .bind(&worlds)
                .bind(vec![EPOCH; parts.len()])
                .bind(last)
                .bind(each(&parts, |rows| rows.len() as i64))
                .bind(each(&parts, |rows| digest(rows).as_bytes().to_vec())),
        };
        let positions = parts.iter().flat_map(|rows| 1..=rows.len() as i64);
        let moves = parts.iter().flat_map(|rows| last_of_keys(rows));
        let mut write = write
            .bind(positions.collect::<Vec<_>>())
            .bind(each(&rows, |row| row.timestamp))
            .bind(each(&rows, |row| i16::from(row.collection)))
            .bind(each(&rows, |row| row.key.as_deref()))
            .bind(each(&rows, |row| row.payload.as_str()))
            .bind(each(&rows, |row| row.kind != Kind::Latest))
            .bind(moves.collect::<Vec<_>>());
        if parts.len() > 1 {
            write = write.bind(each(&rows, |row| row.world as i32));
        }
        let written = write.execute(&mut self.connection).await?;
        ensure!(written.rows_affected() == parts.len() as u64, "fenced");
        for world in worlds {
            *self.last.entry(world).or_default() += 1;
        }
        Ok(())
    }
}

/// A column of rows.
fn each<'rows, T, C>(rows: &'rows [T], column: impl Fn(&'rows T) -> C) -> Vec<C> {
    rows.iter().map(column).collect()
}
