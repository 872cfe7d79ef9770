-- One part. What write_parts.sql says of the lock holds here.
, taken AS (
    UPDATE worlds
    SET
        head = head + $4::bigint,
        last_number = $3::bigint,
        last_at_ms = $5::bigint,
        link = $7::bytea
    WHERE ctid = (
        SELECT ctid
        FROM worlds
        WHERE world_id = $1::text
            AND epoch = $2::bigint
            AND last_number = $3::bigint - 1
            AND head + $4::bigint < (1::bigint << 40)
            AND current_schema() = $8::text
        FOR UPDATE SKIP LOCKED
    )
    RETURNING
        1::bigint AS part, world_id, epoch, last_number AS number, head - $4::bigint AS head,
        $4::bigint AS count, last_at_ms AS at_ms, $6::bytea AS digest, link
),
record AS NOT MATERIALIZED (
    SELECT row.*, taken.world_id, taken.head + row.position AS sequence
    FROM taken
    CROSS JOIN row
)
