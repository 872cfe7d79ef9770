SELECT epoch, digest, first, count
FROM world_batches
WHERE world = ?1 AND number = ?2
