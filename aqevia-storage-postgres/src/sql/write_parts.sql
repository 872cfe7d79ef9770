-- Writes every part that follows what its world holds, in one transaction, and tells which. $1 to $7
-- are the parts, $8 to $19 their records, $20 to $22 the keys that are gone, $23 is the
-- schema that the session was set to: in another one nothing is written, and the row of part 0 says so.
--
-- A world that another session has locked is passed over. The epoch and the number are compared in
-- the snapshot of this statement and once more in the row as it is locked; so the snapshot holds all
-- that the world holds, and nothing that is deleted is missed. The form of each part that reads a
-- table leaves the planner no other way than its key: LATERAL with a lock or OFFSET is not flattened.
WITH part AS MATERIALIZED (
    SELECT world_id, epoch, number, count, at_ms, digest, link, part
    FROM unnest(
        $1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bytea[]
    ) WITH ORDINALITY AS part (world_id, epoch, number, count, at_ms, digest, link, part)
    WHERE current_schema() = $23::text
),
taken AS MATERIALIZED (
    SELECT part.*, world.head
    FROM part
    CROSS JOIN LATERAL (
        SELECT head
        FROM worlds
        WHERE worlds.world_id = part.world_id
            AND worlds.epoch = part.epoch
            AND worlds.last_number = part.number - 1
            AND worlds.head + part.count < (1::bigint << 40)
        FOR UPDATE SKIP LOCKED
    ) AS world
),
record AS MATERIALIZED (
    SELECT record.*, taken.world_id, taken.head + record.position AS sequence
    FROM unnest(
        $8::bigint[], $9::bigint[], $10::bigint[], $11::text[], $12::smallint[], $13::text[],
        $14::smallint[], $15::text[], $16::bytea[], $17::boolean[], $18::bigint[], $19::boolean[]
    ) AS record (
        part, position, timestamp, collection, change, key,
        form, payload, payload_bytes, logged, first_timestamp, recreated
    )
    JOIN taken ON taken.part = record.part
),
logged AS (
    INSERT INTO world_records (
        world_id, sequence, timestamp, collection, change, key, form, payload, payload_bytes
    )
    SELECT world_id, sequence, timestamp, collection, change, key, form, payload, payload_bytes
    FROM record
    WHERE logged
),
put AS (
    INSERT INTO world_state (
        world_id, collection, key, sequence, first_timestamp, last_timestamp, form, payload,
        payload_bytes
    )
    SELECT
        world_id, collection, key, sequence, first_timestamp, timestamp, form, payload,
        payload_bytes
    FROM record
    WHERE NOT recreated
    ON CONFLICT (world_id, collection, key) DO UPDATE SET
        sequence = excluded.sequence,
        last_timestamp = excluded.last_timestamp,
        form = excluded.form,
        payload = excluded.payload,
        payload_bytes = excluded.payload_bytes
),
recreated AS (
    INSERT INTO world_state (
        world_id, collection, key, sequence, first_timestamp, last_timestamp, form, payload,
        payload_bytes
    )
    SELECT
        world_id, collection, key, sequence, first_timestamp, timestamp, form, payload,
        payload_bytes
    FROM record
    WHERE recreated
    ON CONFLICT (world_id, collection, key) DO UPDATE SET
        sequence = excluded.sequence,
        first_timestamp = excluded.first_timestamp,
        last_timestamp = excluded.last_timestamp,
        form = excluded.form,
        payload = excluded.payload,
        payload_bytes = excluded.payload_bytes
),
deleted AS (
    DELETE FROM world_state
    WHERE ctid = ANY (ARRAY(
        SELECT live.ctid
        FROM unnest($20::bigint[], $21::text[], $22::text[]) AS gone (part, collection, key)
        JOIN taken ON taken.part = gone.part
        CROSS JOIN LATERAL (
            SELECT ctid
            FROM world_state
            WHERE world_id = taken.world_id
                AND collection = gone.collection
                AND key = gone.key
            OFFSET 0
        ) AS live
    ))
),
batch AS (
    INSERT INTO world_batches (world_id, number, epoch, first, count, at_ms, digest, link)
    SELECT world_id, number, epoch, head + 1, count, at_ms, digest, link
    FROM taken
),
moved AS (
    UPDATE worlds
    SET
        head = taken.head + taken.count,
        last_number = taken.number,
        last_at_ms = taken.at_ms,
        link = taken.link
    FROM taken
    WHERE worlds.world_id = taken.world_id AND worlds.world_id = ANY ($1)
)
SELECT part, head
FROM taken
UNION ALL
SELECT 0, 0
WHERE current_schema() IS DISTINCT FROM $23::text
