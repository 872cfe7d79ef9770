-- A page of a world's log, and the head that it belongs to. $4 is one more than the rows that fit,
-- $5 the bytes that fit; what does not fit stays with the server.
SELECT
    worlds.head, page.others_follow, page.sequence, page.timestamp, page.collection, page.change,
    page.key, page.form, page.payload, page.payload_bytes
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
            octet_length(collection) + coalesce(octet_length(key), 0)
                + coalesce(octet_length(payload), octet_length(payload_bytes), 0) AS bytes
        FROM world_records
        WHERE world_id = $1 AND sequence > $2 AND sequence <= $3
        ORDER BY sequence
        LIMIT $4
    ) AS row
    WINDOW page AS (ORDER BY sequence ROWS UNBOUNDED PRECEDING)
) AS page ON page.item = 1 OR (page.item < $4 AND page.bytes_so_far <= $5)
WHERE worlds.world_id = $1
ORDER BY page.sequence
