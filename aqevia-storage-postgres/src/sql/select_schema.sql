-- Whether the role may use the schema; no row if there is no such schema.
SELECT has_schema_privilege(oid, 'USAGE')
FROM pg_catalog.pg_namespace
WHERE nspname = $1
