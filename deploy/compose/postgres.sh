#!/bin/sh
# One of two PostgreSQL nodes, for compose.yaml. PEER is the other one. The first node to be started is the primary; one that finds its
# peer to be a primary follows it, also when it was the primary before. For a picture of the whole on one machine, not for your data.
set -eu
: "${PEER:?the host name of the other node}" "${PGDATA:?}" "${PASSWORD_FILE:=/run/secrets/password}"
export PGPORT="${PGPORT:-5432}" PGUSER=replicator PGDATABASE=postgres PGCONNECT_TIMEOUT=3 PGPASSFILE="$PGDATA.pass"
umask 077
printf '*:*:*:*:%s\n' "$(cat "$PASSWORD_FILE")" >"$PGPASSFILE"
source="host=$PEER port=$PGPORT user=$PGUSER dbname=$PGDATABASE passfile=$PGPASSFILE"

is_empty() { [ ! -s "$PGDATA/PG_VERSION" ]; }
peer_is_primary() { [ "$(psql -XAtq -h "$PEER" -c 'SELECT pg_is_in_recovery()' 2>/dev/null)" = f ]; }
follow() {
    touch "$PGDATA/standby.signal"
    printf "primary_conninfo = '%s'\n" "$source" >>"$PGDATA/postgresql.auto.conf"
}

# FIRST is set for the node that makes the cluster; the other one waits for it.
while is_empty && [ -z "${FIRST:-}" ] && ! peer_is_primary; do
    echo "waiting for $PEER" >&2
    sleep 1
done
if peer_is_primary; then
    if is_empty; then
        pg_basebackup -h "$PEER" -D "$PGDATA" --checkpoint=fast --no-password
        follow
    elif [ ! -e "$PGDATA/standby.signal" ]; then
        # It was the primary. What the new one lacks is dropped. Before its first checkpoint, a new primary still has the timeline of the
        # old one in the file that pg_rewind compares (its manual, "Notes").
        psql -XAtq -h "$PEER" -c CHECKPOINT
        pg_rewind --target-pgdata="$PGDATA" --source-server="$source"
        follow
    fi
elif is_empty; then
    # pg_rewind needs checksums.
    initdb --username=postgres --pwfile="$PASSWORD_FILE" --auth-local=trust --auth-host=scram-sha-256 --data-checksums >/dev/null
    # It also needs the log since the last common checkpoint; these lines count in the recovery that it makes, too.
    echo "wal_keep_size = '256MB'" >>"$PGDATA/postgresql.conf"
    echo 'host all,replication all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    # pg_rewind logs in as the first, and reads every file; the checks and the promotion of mainstay need the rights of the second.
    postgres --single -j -D "$PGDATA" postgres >/dev/null <<END
CREATE ROLE replicator LOGIN REPLICATION SUPERUSER PASSWORD '$(cat "$PASSWORD_FILE")';

CREATE ROLE mainstay LOGIN PASSWORD '$(cat "$PASSWORD_FILE")';

GRANT pg_monitor, pg_checkpoint, pg_signal_backend TO mainstay;

GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO mainstay;

END
fi
exec postgres -c listen_addresses="${LISTEN:-*}" -c unix_socket_directories="${SOCKETS:-/tmp}"
