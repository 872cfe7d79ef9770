-- Adds the world, or raises its epoch; what comes back is as the writer before left it. No row
-- comes back if another session adds the world at the same moment. $5 is the schema that the session
-- was set to: in another one nothing is written, and a row of epoch 0 comes back.
WITH before AS (
    SELECT world_id, epoch, head, last_number, last_at_ms, link, schema
    FROM worlds
    WHERE world_id = $1 AND current_schema() = $5::text
    FOR UPDATE
),
claimed AS (
    UPDATE worlds
    SET epoch = before.epoch + 1, owner = $2, schema = $3
    FROM before
    WHERE worlds.world_id = $1
    RETURNING
        worlds.epoch, before.head, before.last_number, before.last_at_ms, before.link, before.schema
),
added AS (
    INSERT INTO worlds (world_id, epoch, owner, head, last_number, last_at_ms, link, schema)
    SELECT $1, 1, $2, 0, 0, 0, $4, $3
    WHERE NOT EXISTS (SELECT FROM before) AND current_schema() = $5::text
    ON CONFLICT (world_id) DO NOTHING
    RETURNING epoch, head, last_number, last_at_ms, link, NULL::bytea AS schema
)
SELECT epoch, head, last_number, last_at_ms, link, schema FROM claimed
UNION ALL
SELECT epoch, head, last_number, last_at_ms, link, schema FROM added
UNION ALL
SELECT 0, 0, 0, 0, ''::bytea, NULL
WHERE current_schema() IS DISTINCT FROM $5::text
