#!/bin/sh
# Generates the Python code of the protos below a directory (default: this tree, as service/pb).
# The mapped include path makes the generated imports `from service.pb import …`, so nothing is patched.
set -eu
cd "$(dirname "$0")/.."
into=${1:-.}
generate() {
    "${PYTHON:-.venv/bin/python}" -m grpc_tools.protoc -Iservice/pb=proto --python_out="$into" --pyi_out="$into" "$@"
}
generate --grpc_python_out="$into" service/pb/fraud.proto
generate service/pb/records.proto  # what stores keep: no services
