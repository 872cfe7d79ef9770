# What a container of the suite runs, in place of the image's own command; arguments go to the
# server.
#
# Nobody outside has to remove the container: it ends by itself when no process has used it for
# AQEVIA_PATIENCE seconds, however that process ended. Who uses it holds a shared advisory lock, and
# so has a connection. To end, that lock is taken alone: who comes too late for it is refused. A
# server that answers nobody, because its processes were stopped, is killed after 120 questions,
# which takes a quarter of an hour, or removed by the next process that wants one (owner.rs).
#
# A server that dies is started again. The signal USR1 kills it and all its processes.

lock='pg_try_advisory_lock(6386021, 0)'
export PGPASSWORD="$POSTGRES_PASSWORD" PGHOST=127.0.0.1 PGUSER="$POSTGRES_USER" PGCONNECT_TIMEOUT=5

begin() {
    docker-entrypoint.sh postgres "$@" &
    server=$!
}

end() {
    wait "$server"
    exit 0
}

# The kernel spares the first process of a container, which is this one.
trap 'kill -KILL -1; wait "$server"; begin "$@"' USR1
trap 'kill -INT "$server"; end' TERM INT

begin "$@"
# Who starts the container uses it as soon as it answers; on a slow machine that takes a moment.
idle=0 silent=0 patience=10
while [ "$silent" -lt 120 ]; do
    sleep 1 &
    wait $!
    kill -0 "$server" 2>/dev/null || { wait "$server"; begin "$@"; }
    case $(psql -XAtqd postgres -c "SELECT $lock" 2>/dev/null) in
        f) idle=0 silent=0 patience=$AQEVIA_PATIENCE ;;
        t) idle=$((idle + 1)) silent=0 ;;
        *) silent=$((silent + 1)) ;;
    esac
    [ "$idle" -ge "$patience" ] || continue
    verdict=$(psql -XAtqd postgres <<PSQL
SELECT $lock AS unused \gset
\if :unused
\echo unused
\! kill -INT $server
SELECT pg_sleep(60);
\endif
PSQL
)
    [ "$verdict" != unused ] || end
done
kill -KILL -1
