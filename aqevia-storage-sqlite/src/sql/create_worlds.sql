-- Where each world stands: who may write to it, and what its next part follows.
CREATE TABLE worlds (
    number INTEGER PRIMARY KEY,
    world_id TEXT NOT NULL UNIQUE,
    epoch INTEGER NOT NULL,
    owner TEXT NOT NULL,
    head INTEGER NOT NULL,
    last_number INTEGER NOT NULL,
    last_at_ms INTEGER NOT NULL,
    link BLOB NOT NULL,
    schema BLOB
) STRICT
