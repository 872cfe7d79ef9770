-- Only what is ours. A view or a foreign key of somebody else's stops it.
DROP TABLE IF EXISTS world_batches, world_state, world_records, worlds, schema_meta
