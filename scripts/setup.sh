#!/bin/sh
# Makes .venv with exactly the packages that requirements.lock names, each checked by its hash.
# Needs Python 3.11 or newer and nothing else; FRAUD_PYTHON names one when several are there.
# Called by make, which skips it while .venv is up to date; running it again is harmless.
set -eu
cd "$(dirname "$0")/.."

newest_enough='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'
python=
for candidate in ${FRAUD_PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if "$candidate" -c "$newest_enough" >/dev/null 2>&1; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "setup: needs Python 3.11 or newer with its venv module (on Debian: apt-get install python3 python3-venv)" >&2
    exit 1
fi

if ! .venv/bin/python -c "$newest_enough" >/dev/null 2>&1; then
    echo "setup: making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi
echo "setup: installing $(grep -c '==' requirements.lock) packages into .venv; the first time takes a few minutes"
# Nothing is compiled here: a package without a wheel for this machine is refused by name.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
    -r requirements.lock
# The project itself: no download, and no build environment of its own.
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
echo "setup: done"
