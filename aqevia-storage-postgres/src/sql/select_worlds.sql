-- A page of the worlds. $2 and $3 are as $4 and $5 of select_log.sql.
SELECT others_follow, world_id, epoch, owner, head, last_number, last_at_ms
FROM (
    SELECT
        *,
        row_number() OVER page AS item,
        sum(octet_length(world_id)) OVER page AS bytes_so_far,
        lead(epoch) OVER page IS NOT NULL AS others_follow
    FROM (
        SELECT world_id, epoch, owner, head, last_number, last_at_ms
        FROM worlds
        WHERE world_id > $1
        ORDER BY world_id
        LIMIT $2
    ) AS row
    WINDOW page AS (ORDER BY world_id ROWS UNBOUNDED PRECEDING)
) AS page
WHERE item = 1 OR (item < $2 AND bytes_so_far <= $3)
ORDER BY world_id
