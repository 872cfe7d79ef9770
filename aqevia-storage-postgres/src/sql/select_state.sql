-- A page of a world's state; see select_log.sql.
WITH size AS (
    SELECT
        collection, key,
        octet_length(collection) + octet_length(key)
            + coalesce(octet_length(payload), octet_length(payload_bytes), 0) AS bytes
    FROM world_state
    WHERE world_id = $1 AND (collection, key) > ($2, $3)
    ORDER BY collection, key
    LIMIT $4
),
fit AS MATERIALIZED (
    SELECT
        count(*) AS found,
        CASE WHEN sum(bytes) <= $5 THEN least(count(*), $4 - 1) ELSE (
            SELECT count(*)
            FROM (
                SELECT row_number() OVER page AS item, sum(bytes) OVER page AS bytes_so_far
                FROM size
                WINDOW page AS (ORDER BY collection, key ROWS UNBOUNDED PRECEDING)
            ) AS row
            WHERE item = 1 OR (item < $4 AND bytes_so_far <= $5)
        ) END AS items
    FROM size
)
SELECT
    worlds.head, (SELECT found > items FROM fit) AS others_follow, page.collection, page.key,
    page.sequence, page.first_timestamp, page.last_timestamp, page.form, page.payload,
    page.payload_bytes
FROM worlds
LEFT JOIN (
    SELECT
        collection, key, sequence, first_timestamp, last_timestamp, form, payload, payload_bytes
    FROM world_state
    WHERE world_id = $1 AND (collection, key) > ($2, $3)
    ORDER BY collection, key
    LIMIT (SELECT items FROM fit)
) AS page ON true
WHERE worlds.world_id = $1
