SELECT head
FROM worlds
WHERE world_id = $1
