#!/usr/bin/env bash
# Training on several processes of this machine: bash scripts/torchrun.sh N RECIPE.yaml [key=value ...] [--resume] [--quick]
# The strategy stands in the recipe: run.strategy=ddp | zero1 | zero2 | zero3. N is the number of GPUs (or CPU processes).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -lt 2 ]; then sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; fi
source scripts/threads.sh
bash scripts/setup.sh
processes=$1
shift
exec .venv/bin/torchrun --standalone --nproc_per_node="$processes" -m skyeye.train "$@"
