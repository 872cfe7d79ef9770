INSERT INTO world_batches (world, number, epoch, first, count, at_ms, digest, link)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
