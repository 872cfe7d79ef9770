-- The state of one key, and the head that it belongs to.
SELECT
    worlds.head, false AS others_follow, world_state.collection, world_state.key,
    world_state.sequence, world_state.first_timestamp, world_state.last_timestamp,
    world_state.form, world_state.payload, world_state.payload_bytes
FROM worlds
LEFT JOIN world_state
    ON world_state.world_id = $1 AND world_state.collection = $2 AND world_state.key = $3
WHERE worlds.world_id = $1
