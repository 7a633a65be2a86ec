#!/bin/sh
# A check for `exec`: asks one node for its role. Redis is an example of a database for which mainstay has no check.
#
# The first word is the role; lag (bytes), epoch and version may follow. Exit codes: 0 healthy, 75 not yet, 77 and 78 the check
# itself is wrong, all others a failure. The standard error is the evidence if the standard output is empty.
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
