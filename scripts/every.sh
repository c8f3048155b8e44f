#!/bin/sh
# Runs a command at once and then every so many seconds, for as long as its container lives:
#
#   every.sh SECONDS COMMAND [ARGUMENT…]
#
# How the command ended is said and stops nothing. SIGTERM ends a wait at once, and is handed to a command that runs.
set -eu
seconds=$1
shift
child=

stop() {
    trap - TERM INT
    [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true
    wait || true
    exit 0
}
trap stop TERM INT

while :; do
    "$@" &
    child=$!
    status=0
    wait "$child" || status=$?
    echo "every: exit code $status, again in $seconds s"
    sleep "$seconds" &
    child=$!
    wait "$child" || true
done
