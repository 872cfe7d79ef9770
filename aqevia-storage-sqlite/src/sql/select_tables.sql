-- What a program has made in the database; indexes belong to their tables.
SELECT name
FROM sqlite_schema
WHERE type <> 'index' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
ORDER BY name
