-- A page of a collection; $4 and $5 are as in select_log.sql.
SELECT
    worlds.head, page.others_follow, page.collection, page.key, page.sequence,
    page.first_timestamp, page.last_timestamp, page.form, page.payload, page.payload_bytes
FROM worlds
LEFT JOIN (
    SELECT
        *,
        row_number() OVER page AS item,
        sum(bytes) OVER page AS bytes_so_far,
        lead(sequence) OVER page IS NOT NULL AS others_follow
    FROM (
        SELECT
            *,
            octet_length(collection) + octet_length(key)
                + coalesce(octet_length(payload), octet_length(payload_bytes)) AS bytes
        FROM world_state
        WHERE world_id = $1 AND collection = $2 AND key > $3
        ORDER BY key
        LIMIT $4
    ) AS row
    WINDOW page AS (ORDER BY key ROWS UNBOUNDED PRECEDING)
) AS page ON page.item = 1 OR (page.item < $4 AND page.bytes_so_far <= $5)
WHERE worlds.world_id = $1
ORDER BY page.key
