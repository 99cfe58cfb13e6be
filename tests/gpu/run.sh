#!/usr/bin/env bash
# What only a GPU can show, in eight minutes: tests/gpu/run.sh [--device cuda|cpu] [--small] [--json FILE]
# The machine needs Python 3.12, torch, transformers and pytest, and no network: wheels of what it lacks
# (diffusers, lark, ftfy, wcwidth, lazy_loader) come from the folder that WHEELS names. PYTHON names the interpreter.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
path=$PWD
if [ -n "${WHEELS-}" ]; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$WHEELS"/*.whl
    path=$site:$path
fi
PYTHONPATH=$path${PYTHONPATH:+:$PYTHONPATH} "$python" -m tests.gpu "$@"
