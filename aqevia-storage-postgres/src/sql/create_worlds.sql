-- Where each world stands: who may write to it, and what its next part follows. A row is changed
-- with every part; the room that is left in its page keeps that from growing the index.
CREATE TABLE worlds (
    world_id text COLLATE "C" PRIMARY KEY,
    epoch bigint NOT NULL CHECK (epoch > 0),
    owner text COLLATE "C" NOT NULL,
    head bigint NOT NULL CHECK (head >= 0 AND head < 1::bigint << 40),
    last_number bigint NOT NULL CHECK (last_number >= 0),
    last_at_ms bigint NOT NULL,
    link bytea NOT NULL CHECK (octet_length(link) = 32),
    schema bytea CHECK (octet_length(schema) = 32)
) WITH (fillfactor = 50)
