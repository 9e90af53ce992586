#!/usr/bin/env bash
# Training on several machines without a batch system; the same line on each of them, with its own number:
#   bash scripts/multinode.sh NODES NODE_RANK HOST:PORT RECIPE.yaml [key=value ...] [--quick]
# NODE_RANK counts from 0; HOST:PORT is a free port on machine 0 that all reach. output_dir is a folder that all share.
# NPROC: processes per machine (default: one a GPU, or a core). MAX_RESTARTS (default 3): how often all processes are
# started again after one died. They then go on from the last saved state, because --resume is always given: where there
# is no state yet the run begins, and a run that is finished stays as it is. The same line can be called again any time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -lt 4 ]; then sed -n '2,7s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; fi
source scripts/threads.sh
bash scripts/setup.sh
nodes=$1 node=$2 endpoint=$3
shift 3
if [ "$node" = 0 ]; then host=1; else host=0; fi # else two machines of one name would both open the meeting point
# A meeting point of its own for each start: one that is kept still holds the addresses of the processes that died.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
# A worker that is told to end saves its state first, which takes longer than the 30 s that torchrun waits.
exec .venv/bin/torchrun --nnodes="$nodes" --node-rank="$node" --nproc-per-node="${NPROC:-auto}" \
    --rdzv-backend=c10d --rdzv-endpoint="$endpoint" --rdzv-id="${RUN_ID:-skyeye}" --rdzv-conf="is_host=$host" \
    ${LOCAL_ADDR:+--local-addr="$LOCAL_ADDR"} --max-restarts="${MAX_RESTARTS:-3}" \
    --shutdown-timeout="${SHUTDOWN_SECONDS:-300}" -m skyeye.train "$@" --resume
