-- The newest payload of each key, unless the log has it: then form is 0, and the payload is that of
-- the record with this sequence. world = worlds.number.
CREATE TABLE world_state (
    world INTEGER NOT NULL,
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    first_timestamp INTEGER NOT NULL,
    last_timestamp INTEGER NOT NULL,
    form INTEGER NOT NULL, -- 0 in the log, 1 JSON text, 2 bytes
    payload ANY,
    PRIMARY KEY (world, collection, key)
) STRICT, WITHOUT ROWID
