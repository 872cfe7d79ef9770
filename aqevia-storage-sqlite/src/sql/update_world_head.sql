UPDATE worlds
SET head = ?2, last_number = ?3, last_at_ms = ?4, link = ?5
WHERE number = ?1
