-- A page of a world's log, and the head that it belongs to: a row without a sequence if nothing else
-- is in it. $4 is one more than the rows that fit, $5 the bytes that fit; what does not fit stays
-- with the server. One sum tells whether all rows fit; only where they do not are they added up one
-- by one.
WITH size AS (
    SELECT
        sequence,
        octet_length(collection) + coalesce(octet_length(key), 0)
            + coalesce(octet_length(payload), octet_length(payload_bytes), 0) AS bytes
    FROM world_records
    WHERE world_id = $1 AND sequence > $2 AND sequence <= $3
    ORDER BY sequence
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
                WINDOW page AS (ORDER BY sequence ROWS UNBOUNDED PRECEDING)
            ) AS row
            WHERE item = 1 OR (item < $4 AND bytes_so_far <= $5)
        ) END AS items
    FROM size
)
SELECT
    worlds.head, (SELECT found > items FROM fit) AS others_follow, page.sequence, page.timestamp,
    page.collection, page.change, page.key, page.form, page.payload, page.payload_bytes
FROM worlds
LEFT JOIN (
    SELECT sequence, timestamp, collection, change, key, form, payload, payload_bytes
    FROM world_records
    WHERE world_id = $1 AND sequence > $2 AND sequence <= $3
    ORDER BY sequence
    LIMIT (SELECT items FROM fit)
) AS page ON true
WHERE worlds.world_id = $1
