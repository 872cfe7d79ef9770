INSERT INTO world_batches (world_id, number, epoch, first, count, at_ms, digest, link)
SELECT world_id, number, epoch, head + 1, count, at_ms, digest, link
FROM taken
RETURNING world_id, first
