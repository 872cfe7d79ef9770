-- The newest payload of each key. Payloads are as in world_records.
CREATE TABLE world_state (
    world_id text COLLATE "C" NOT NULL,
    collection text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    first_timestamp bigint NOT NULL,
    last_timestamp bigint NOT NULL,
    form smallint NOT NULL, -- 1 JSON text, 2 bytes
    payload text COLLATE "C",
    payload_bytes bytea,
    PRIMARY KEY (world_id, collection, key)
) WITH (fillfactor = 70)
