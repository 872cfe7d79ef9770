batch AS (
    INSERT INTO world_batches (world_id, number, epoch, first, count, at_ms, digest, link)
    SELECT world_id, number, epoch, head + 1, count, at_ms, digest, link
    FROM taken
),
moved AS (
    UPDATE worlds
    SET
        head = taken.head + taken.count,
        last_number = taken.number,
        last_at_ms = taken.at_ms,
        link = taken.link
    FROM taken
    WHERE worlds.world_id = taken.world_id AND worlds.world_id = ANY ($1)
)
SELECT part, head
FROM taken
UNION ALL
SELECT 0, 0
WHERE current_schema() IS DISTINCT FROM $20::text
