SELECT collection, key, sequence, first_timestamp, last_timestamp, form, payload
FROM world_state
WHERE world = ?1 AND (collection, key) > (?2, ?3)
ORDER BY collection, key
