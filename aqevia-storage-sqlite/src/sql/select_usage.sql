-- ?1 worlds.number, ?2 and ?3 the first and the last id that its log may have.
SELECT
    (SELECT count(*) FROM world_records WHERE id BETWEEN ?2 AND ?3),
    (SELECT coalesce(sum(octet_length(payload)), 0) FROM world_records WHERE id BETWEEN ?2 AND ?3),
    (SELECT count(*) FROM world_state WHERE world = ?1),
    (
        SELECT coalesce(sum(octet_length(iif(state.form = 0, log.payload, state.payload))), 0)
        FROM world_state AS state
        LEFT JOIN world_records AS log
            ON log.id = iif(state.form = 0, state.world << 40 | state.sequence, NULL)
        WHERE state.world = ?1
    ),
    (SELECT count(*) FROM world_batches WHERE world = ?1)
