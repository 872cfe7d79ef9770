SELECT collection, key, sequence, first_timestamp, last_timestamp, form, payload
FROM world_state
WHERE world = ?1 AND collection = ?2 AND key > ?3
ORDER BY key
