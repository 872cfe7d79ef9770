-- The log. JSON is in payload, everything else in payload_bytes, and so is JSON that holds a
-- character U+0000, which text cannot.
CREATE TABLE world_records (
    world_id text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    timestamp bigint NOT NULL,
    collection text COLLATE "C" NOT NULL,
    change smallint NOT NULL, -- 1 Put, 2 Delete, 3 Event
    key text COLLATE "C",
    form smallint NOT NULL, -- 0 no payload, 1 JSON text, 2 bytes
    payload text COLLATE "C",
    payload_bytes bytea,
    PRIMARY KEY (world_id, sequence)
)
