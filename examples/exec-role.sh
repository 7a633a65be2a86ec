#!/bin/sh
# A check for `exec`: asks one node for its role. Redis stands here for a database that mainstay has no check of its own for.
#
# The first word is the role; lag (bytes), epoch and version may follow. Exit codes: 0 well, 75 not yet, 78 the check itself is
# wrong, all else not well. Whatever is written to the standard error is evidence when nothing else is.
set -u
command -v redis-cli >/dev/null || { echo "redis-cli is not installed" >&2; exit 78; }
answer=$(redis-cli -h "$MAINSTAY_BACKEND_HOST" -p "$MAINSTAY_BACKEND_PORT" INFO replication 2>&1) || { echo "$answer" >&2; exit 1; }
case $answer in
    *role:master*) echo primary ;;
    *role:slave*) echo standby ;;
    LOADING*) echo "$answer"; exit 75 ;;
    NOAUTH* | NOPERM* | WRONGPASS*) echo "$answer"; exit 77 ;;
    *) echo "no role in: $answer" >&2; exit 1 ;;
esac
