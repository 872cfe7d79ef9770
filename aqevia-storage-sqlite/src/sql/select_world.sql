SELECT number, epoch, owner, head, last_number, last_at_ms, link, schema
FROM worlds
WHERE world_id = ?1
