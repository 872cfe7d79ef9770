INSERT INTO worlds (world_id, epoch, owner, head, last_number, last_at_ms, link, schema)
VALUES (?1, ?2, ?3, 0, 0, 0, ?4, NULL)
