SELECT id, world_id, timestamp, collection, change, key, form, payload
FROM world_records
WHERE id BETWEEN ?1 AND ?2
ORDER BY id
