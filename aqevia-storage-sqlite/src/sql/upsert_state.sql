-- ?9: whether the part deleted the key before it put it, so that its history begins anew.
INSERT INTO world_state (
    world, collection, key, sequence, first_timestamp, last_timestamp, form, payload
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (world, collection, key) DO UPDATE SET
    sequence = excluded.sequence,
    first_timestamp = iif(?9, excluded.first_timestamp, first_timestamp),
    last_timestamp = excluded.last_timestamp,
    form = excluded.form,
    payload = excluded.payload
