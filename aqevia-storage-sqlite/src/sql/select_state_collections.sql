SELECT
    state.collection, state.key, state.sequence, state.first_timestamp, state.last_timestamp,
    coalesce(log.form, state.form), coalesce(log.payload, state.payload)
FROM world_state AS state
-- Without a payload the row stands for its record in the log.
LEFT JOIN world_records AS log ON log.id = iif(state.form = 0, state.world << 40 | state.sequence, NULL)
WHERE state.world = ?1 AND state.collection > ?2
ORDER BY state.collection, state.key
