INSERT INTO schema_meta (id, version)
VALUES (1, ?1)
