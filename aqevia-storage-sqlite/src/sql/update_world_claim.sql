UPDATE worlds
SET epoch = ?2, owner = ?3, schema = ?4
WHERE number = ?1
