-- What a program has made in the schema; indexes, and types of rows, belong to their tables.
SELECT relname::text
FROM pg_catalog.pg_class
JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = $1 AND relkind NOT IN ('i', 'I', 't', 'c')
ORDER BY relname
