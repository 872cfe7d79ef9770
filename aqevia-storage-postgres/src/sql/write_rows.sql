-- Writes every part that follows what its world holds, in one transaction, and tells which. The
-- statement is made of this file and those clauses that the parts need (parts.rs).
--
-- $1 to $7 are the parts, $8 is the schema that the session was set to: in another one nothing is
-- written. $9 to $20 are the rows; a column that is NULL in all of them comes as an empty array. A row
-- goes into the log if it is logged, and into the state if it has a first_timestamp.
--
-- Nothing of the rows is copied on its way into the tables: arrays are unnested beside each other in
-- one SELECT, where unnest with many of them would first make a table of each, and what reads the rows
-- unnests them itself.
WITH row AS NOT MATERIALIZED (
    SELECT
        unnest($9::bigint[]) AS position,
        unnest($10::bigint[]) AS timestamp,
        unnest($11::text[]) AS collection,
        unnest($12::smallint[]) AS change,
        unnest($13::text[]) AS key,
        unnest($14::smallint[]) AS form,
        unnest($15::text[]) AS payload,
        unnest($16::bytea[]) AS payload_bytes,
        unnest($17::boolean[]) AS logged,
        unnest($18::bigint[]) AS first_timestamp,
        unnest($19::boolean[]) AS recreated,
        unnest($20::bigint[]) AS part
)
