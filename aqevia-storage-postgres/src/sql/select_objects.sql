-- What a program has made in the schema: what is in pg_class by its name, all else by what the server
-- calls it. Each depends on the schema itself; what belongs to another, as an index to its table,
-- does not, and neither do default privileges, which are no object.
SELECT coalesce(relname, (pg_identify_object(classid, objid, 0)).identity, 'an object')::text AS name
FROM pg_catalog.pg_depend
JOIN pg_catalog.pg_namespace ON pg_namespace.oid = refobjid
LEFT JOIN pg_catalog.pg_class
    ON pg_class.oid = objid AND classid = 'pg_catalog.pg_class'::regclass
WHERE nspname = $1 AND refclassid = 'pg_catalog.pg_namespace'::regclass AND deptype = 'n'
ORDER BY name
