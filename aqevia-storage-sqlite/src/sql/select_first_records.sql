SELECT id, payload, timestamp
FROM first_records
WHERE world_id = ?1
ORDER BY id
