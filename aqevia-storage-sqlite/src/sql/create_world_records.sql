-- The log. id = worlds.number * 2^40 + sequence, so that the rows of a world lie together and in
-- order without another index. The payload is TEXT if it is JSON and BLOB otherwise; it comes last,
-- so that what is before it is read without it.
CREATE TABLE world_records (
    id INTEGER PRIMARY KEY,
    world_id TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    collection TEXT NOT NULL,
    change INTEGER NOT NULL, -- 1 Put, 2 Delete, 3 Event
    key TEXT,
    form INTEGER NOT NULL, -- 0 no payload, 1 JSON text, 2 bytes
    payload ANY
) STRICT
