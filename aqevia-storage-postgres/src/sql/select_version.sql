SELECT application, version
FROM schema_meta
