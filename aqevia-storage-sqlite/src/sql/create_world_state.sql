-- The newest payload of each key. world = worlds.number.
CREATE TABLE world_state (
    world INTEGER NOT NULL,
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    first_timestamp INTEGER NOT NULL,
    last_timestamp INTEGER NOT NULL,
    form INTEGER NOT NULL, -- 1 JSON text, 2 bytes
    payload ANY NOT NULL,
    PRIMARY KEY (world, collection, key)
) STRICT, WITHOUT ROWID
