#!/bin/sh
# Installs the Debian packages that wheels do not bring; skips those that are there, says what it does.
set -eu

# libgomp1: OpenMP, which LightGBM's wheel links to and does not carry.
wanted="libgomp1"

# chromium: the tests open a report in it, as wide as a phone and a desk. prometheus: they let it watch a service, and
# check rules, alerts and dashboard with its promtool. Where these cannot be had they skip that.
welcome="chromium prometheus"

missing() {
    for package in "$@"; do
        if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
            printf ' %s' "$package"
        fi
    done
}

install() {
    echo "packages: installing $*"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"
}

if ! command -v dpkg-query >/dev/null; then
    echo "packages: not a Debian system; see to it that it has: $wanted, and for all tests: $welcome"
    exit 0
fi
# shellcheck disable=SC2086  # lists of words
needed=$(missing $wanted) useful=$(missing $welcome)
if [ -z "$needed$useful" ]; then
    echo "packages: all there ($wanted $welcome)"
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "packages: missing$needed$useful; install with: sudo apt-get install$needed$useful" >&2
    [ -z "$needed" ]
    exit
fi
# shellcheck disable=SC2086
[ -z "$needed" ] || install $needed
# shellcheck disable=SC2086
[ -z "$useful" ] || install $useful || echo "packages: going on without$useful" >&2
