-- Every part that was persisted. world = worlds.number.
CREATE TABLE world_batches (
    world INTEGER NOT NULL,
    number INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    digest BLOB NOT NULL,
    link BLOB NOT NULL,
    thinned INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (world, number)
) STRICT, WITHOUT ROWID
