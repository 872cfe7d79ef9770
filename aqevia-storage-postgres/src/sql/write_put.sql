-- The newest payloads of keys.
, put AS (
    INSERT INTO world_state (
        world_id, collection, key, sequence, first_timestamp, last_timestamp, form, payload,
        payload_bytes
    )
    SELECT
        world_id, collection, key, sequence, first_timestamp, timestamp, form, payload,
        payload_bytes
    FROM record
    WHERE first_timestamp IS NOT NULL AND recreated IS NOT TRUE
    ON CONFLICT (world_id, collection, key) DO UPDATE SET
        sequence = excluded.sequence,
        last_timestamp = excluded.last_timestamp,
        form = excluded.form,
        payload = excluded.payload,
        payload_bytes = excluded.payload_bytes
)
