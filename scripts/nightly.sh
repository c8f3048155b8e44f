#!/bin/sh
# What the trainer does every night: retrain, promote what is better, judge what is live for Prometheus, and let go of
# what is older than the settings say (retention.*; by default nothing is).
#
#   nightly.sh [OPTION OF training retrain…]
#
# Exits 0 also when there was nothing to promote or, in the first days, nothing to judge by; else it is trouble.
set -eu
status=0
python -m training retrain "$@" || status=$?
case $status in
0) ;;
10 | 11 | 12) echo "nightly: retrain ended with $status, see its --help; nothing was promoted" ;;
*) exit "$status" ;;
esac
status=0
python -m training compare --metrics "${FRAUD_METRICS:-var/metrics}/compare.prom" || status=$?
[ "$status" = 0 ] || echo "nightly: what is live was not judged, compare ended with $status"
python -m service retention
