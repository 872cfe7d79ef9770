INSERT INTO schema_meta (id, application, version)
VALUES (1, $1, $2)
