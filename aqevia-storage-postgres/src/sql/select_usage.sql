-- What a world holds; no row if there is no such world.
SELECT
    (SELECT count(*) FROM world_records WHERE world_id = $1) AS log_records,
    (
        SELECT coalesce(sum(coalesce(octet_length(payload), octet_length(payload_bytes))), 0)
        FROM world_records
        WHERE world_id = $1
    ) AS log_bytes,
    (SELECT count(*) FROM world_state WHERE world_id = $1) AS state_keys,
    (
        SELECT coalesce(sum(coalesce(octet_length(payload), octet_length(payload_bytes))), 0)
        FROM world_state
        WHERE world_id = $1
    ) AS state_bytes,
    (SELECT count(*) FROM world_batches WHERE world_id = $1) AS parts,
    (
        SELECT sum(pg_total_relation_size(name::regclass))::bigint
        FROM unnest(ARRAY['schema_meta', 'worlds', 'world_records', 'world_state', 'world_batches'])
            AS name
    ) AS store_bytes
FROM worlds
WHERE world_id = $1
