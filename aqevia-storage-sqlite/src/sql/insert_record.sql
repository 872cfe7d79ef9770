INSERT INTO world_records (id, world_id, timestamp, collection, change, key, form, payload)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
