#!/bin/sh
# Installs the Debian packages that wheels do not bring; skips those that are there, says what it does.
set -eu

# libgomp1: OpenMP, which LightGBM's wheel links to and does not carry.
wanted="libgomp1"

if ! command -v dpkg-query >/dev/null; then
    echo "packages: not a Debian system; see to it that it has: $wanted"
    exit 0
fi
missing=
for package in $wanted; do
    if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
        missing="$missing $package"
    fi
done
if [ -z "$missing" ]; then
    echo "packages: all there ($wanted)"
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "packages: missing$missing; install with: sudo apt-get install$missing" >&2
    exit 1
fi
echo "packages: installing$missing"
apt-get update -qq
# shellcheck disable=SC2086  # a list of words
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing
