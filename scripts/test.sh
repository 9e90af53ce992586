#!/usr/bin/env bash
# The test suite: bash scripts/test.sh [arguments for pytest, e.g. -m golden | -m slow | -k boxes | tests/data]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/threads.sh
bash scripts/setup.sh
# Two processes of one thread each: on two cores faster than one process of two threads. -n 0 after it turns this off.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# The files in the order of tests/conftest.py: those that take long first, so that neither process waits at the end.
exec .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
