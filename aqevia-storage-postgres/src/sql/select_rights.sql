-- Whether the role may use the schema, whether the session is still set to look there ($3), and
-- whether all of the tables $2 are in it; no row if there is no such schema. It must not ask for
-- current_schema(), which would make a schema of temporary tables where this one may not be used.
SELECT
    has_schema_privilege(pg_namespace.oid, 'USAGE') AS usable,
    current_setting('search_path') = $3 AS here,
    (
        SELECT count(*)
        FROM pg_catalog.pg_class
        WHERE relnamespace = pg_namespace.oid AND relname = ANY ($2::text[])
    ) = cardinality($2::text[]) AS complete
FROM pg_catalog.pg_namespace
WHERE nspname = $1
