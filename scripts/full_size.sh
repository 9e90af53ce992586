#!/usr/bin/env bash
# The full-size check: bash scripts/full_size.sh [--layers N] [--json FILE] | --gpu [--minutes 25] | --report FILE
# PYTHON=/path/to/python uses that one as it is, without .venv: a machine that has its own torch and no network. What it
# lacks is then taken from wheels/, where scripts/wheels.sh has collected it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/threads.sh
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
if [ -z "${PYTHON:-}" ]; then
    bash scripts/setup.sh
else
    PYTHONPATH="$PYTHONPATH:$("$PYTHON" scripts/unpack_wheels.py wheels build/wheels)"
fi
exec "${PYTHON:-.venv/bin/python}" -m skyeye.bench.full_size "$@"
