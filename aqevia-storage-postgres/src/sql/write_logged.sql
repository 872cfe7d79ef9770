-- The records that go into the log.
, logged AS (
    INSERT INTO world_records (
        world_id, sequence, timestamp, collection, change, key, form, payload, payload_bytes
    )
    SELECT world_id, sequence, timestamp, collection, change, key, form, payload, payload_bytes
    FROM record
    WHERE logged
)
