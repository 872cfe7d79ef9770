DELETE FROM world_state
WHERE world = ?1 AND collection = ?2 AND key = ?3
