-- Where each world stands: who may write to it, and what its next part follows. A row is changed
-- with every part; the room that is left in its page keeps that from growing the index.
--
-- No table that is written with every part has a CHECK: each would cost every statement some 3
-- microseconds, for it is read from the catalog as text. Whoever reads a row checks it.
CREATE TABLE worlds (
    world_id text COLLATE "C" PRIMARY KEY,
    epoch bigint NOT NULL,
    owner text COLLATE "C" NOT NULL,
    head bigint NOT NULL,
    last_number bigint NOT NULL,
    last_at_ms bigint NOT NULL,
    link bytea NOT NULL,
    schema bytea
) WITH (fillfactor = 50)
