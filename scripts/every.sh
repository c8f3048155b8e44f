#!/bin/sh
# Runs a command at once and then every so many seconds, for as long as its container lives:
#
#   every.sh SECONDS COMMAND [ARGUMENT…]
#
# How the command ended is said and stops nothing. SIGTERM ends a wait at once, and is handed to a command that runs.
set -eu
seconds=$1
shift

stop() {
    trap - TERM INT
    # $! and no variable of ours: it is there as soon as the command is.
    [ -z "${!:-}" ] || kill -TERM "$!" 2>/dev/null || true
    wait || true
    exit 0
}
trap stop TERM INT

while :; do
    "$@" &
    status=0
    wait "$!" || status=$?
    echo "every: exit code $status, again in $seconds s"
    sleep "$seconds" &
    wait "$!" || true
done
