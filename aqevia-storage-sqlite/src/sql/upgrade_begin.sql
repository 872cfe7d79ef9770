-- The index gives the rows of each world in their order, and goes with its table.
ALTER TABLE world_records RENAME TO first_records;
CREATE INDEX first_records_by_world ON first_records (world_id);
DROP TABLE schema_meta
