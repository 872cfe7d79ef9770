-- Writes to the server's log of transactions and nowhere else, so that the commit waits for whom the
-- server waits for. Who has this has all that was committed before.
SELECT pg_logical_emit_message(true, 'aqevia-storage', ''::text) IS NOT NULL
