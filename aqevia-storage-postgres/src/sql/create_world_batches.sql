-- Every part that was persisted.
CREATE TABLE world_batches (
    world_id text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    epoch bigint NOT NULL,
    first bigint NOT NULL,
    count bigint NOT NULL,
    at_ms bigint NOT NULL,
    digest bytea NOT NULL,
    link bytea NOT NULL,
    thinned boolean NOT NULL DEFAULT false,
    PRIMARY KEY (world_id, number)
)
