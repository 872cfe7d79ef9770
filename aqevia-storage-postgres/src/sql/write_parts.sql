-- Several parts, each an element of $1 to $7.
--
-- A world that another session has locked is passed over. The epoch and the number are compared in
-- the snapshot of this statement and once more in the row as it is locked; so the snapshot holds all
-- that the world holds, and nothing that is deleted is missed. If the row was changed meanwhile in
-- anything else, the snapshot does not have it at its new place: it is not updated, and nothing is
-- written. The form of each part that reads a table leaves the planner no other way than its key:
-- LATERAL with a lock or OFFSET is not flattened.
, part AS (
    SELECT part.*, free.ctid AS place
    FROM (
        SELECT
            generate_series(1::bigint, cardinality($1::text[])) AS part,
            unnest($1::text[]) AS world_id,
            unnest($2::bigint[]) AS epoch,
            unnest($3::bigint[]) AS number,
            unnest($4::bigint[]) AS count,
            unnest($5::bigint[]) AS at_ms,
            unnest($6::bytea[]) AS digest,
            unnest($7::bytea[]) AS link
    ) AS part
    CROSS JOIN LATERAL (
        SELECT ctid
        FROM worlds
        WHERE worlds.world_id = part.world_id
            AND worlds.epoch = part.epoch
            AND worlds.last_number = part.number - 1
            AND worlds.head + part.count < (1::bigint << 40)
            AND current_schema() = $8::text
        FOR UPDATE SKIP LOCKED
    ) AS free
),
taken AS (
    UPDATE worlds
    SET
        head = worlds.head + part.count,
        last_number = part.number,
        last_at_ms = part.at_ms,
        link = part.link
    FROM part
    WHERE worlds.ctid = part.place
    RETURNING part.*, worlds.head - part.count AS head
),
record AS NOT MATERIALIZED (
    SELECT row.*, taken.world_id, taken.head + row.position AS sequence
    FROM taken
    JOIN row ON row.part = taken.part
)
