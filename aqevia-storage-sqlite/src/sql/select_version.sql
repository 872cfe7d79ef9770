SELECT version
FROM schema_meta
