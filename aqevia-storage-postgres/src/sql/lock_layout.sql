-- Held until the transaction ends, by whoever makes a layout in this schema of this database.
SELECT pg_advisory_xact_lock(hashtextextended('aqevia-storage layout ' || $1, 0))
