-- Writes every part that follows what its world holds, in one transaction, and tells which. $1 to $7
-- are the parts, $8 to $19 their records, $20 is the schema that the session was set to: in another
-- one nothing is written, and the row of part 0 says so.
--
-- A world that another session has locked is passed over. The epoch and the number are compared in
-- the snapshot of this statement and once more in the row as it is locked; so the snapshot holds all
-- that the world holds, and nothing that is deleted is missed. The form of each part that reads a
-- table leaves the planner no other way than its key: LATERAL with a lock or OFFSET is not flattened.
--
-- Between this and write_parts_end.sql stands write_parts_gone.sql, if a part deletes keys.
WITH part AS MATERIALIZED (
    SELECT world_id, epoch, number, count, at_ms, digest, link, part
    FROM unnest(
        $1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bytea[]
    ) WITH ORDINALITY AS part (world_id, epoch, number, count, at_ms, digest, link, part)
    WHERE current_schema() = $20::text
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
