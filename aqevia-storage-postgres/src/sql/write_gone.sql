-- The keys that the parts delete: for good, which are $21 to $23, or to put them anew.
, recreated AS (
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
        FROM unnest($21::bigint[], $22::text[], $23::text[]) AS gone (part, collection, key)
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
)
