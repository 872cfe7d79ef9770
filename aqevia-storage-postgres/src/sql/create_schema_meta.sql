-- Whose store it is and the version of its layout, in one row.
CREATE TABLE schema_meta (
    id integer PRIMARY KEY CHECK (id = 1),
    application text COLLATE "C" NOT NULL,
    version integer NOT NULL
)
