SELECT attname || ' ' || format_type(atttypid, NULL)
FROM pg_catalog.pg_attribute
JOIN pg_catalog.pg_class ON pg_class.oid = attrelid
JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = $1 AND relname = 'schema_meta' AND attnum > 0 AND NOT attisdropped
ORDER BY attname
