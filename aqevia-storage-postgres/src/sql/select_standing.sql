-- Where the world of each part stands, and what was persisted under the number of the part. $3
-- is the schema that the session was set to: in another one there is a row of part 0.
SELECT
    part.part,
    world.epoch,
    world.owner,
    world.head,
    world.last_number,
    batch.epoch AS batch_epoch,
    batch.digest AS batch_digest,
    batch.first AS batch_first,
    batch.count AS batch_count
FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS part (world_id, number, part)
CROSS JOIN LATERAL (
    SELECT epoch, owner, head, last_number
    FROM worlds
    WHERE worlds.world_id = part.world_id
    OFFSET 0 -- keeps the planner from any other way than the key
) AS world
LEFT JOIN LATERAL (
    SELECT epoch, digest, first, count
    FROM world_batches
    WHERE world_batches.world_id = part.world_id AND world_batches.number = part.number
    OFFSET 0
) AS batch ON true
UNION ALL
SELECT 0, 0, '', 0, 0, NULL, NULL, NULL, NULL
WHERE current_schema() IS DISTINCT FROM $3::text
