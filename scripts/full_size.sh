#!/usr/bin/env bash
# The full-size check: bash scripts/full_size.sh [--layers N] [--json FILE] | --gpu [--minutes 25] | --report FILE
# PYTHON=/path/to/python uses that one as it is, without .venv: a machine that has its own torch and no network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/threads.sh
if [ -z "${PYTHON:-}" ]; then bash scripts/setup.sh; fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-.venv/bin/python}" -m skyeye.bench.full_size "$@"
