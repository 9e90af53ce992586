#!/usr/bin/env bash
# Training under SLURM, from the folder of the project:  sbatch scripts/slurm.sh RECIPE.yaml [key=value ...] [--quick]
# Options before the script's name go before these lines: sbatch --nodes=4 --time=8:00:00 scripts/slurm.sh ...
#SBATCH --job-name=skyeye
#SBATCH --nodes=2
#SBATCH --gpus-per-node=8
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
# One process a GPU, started by srun. Two minutes before the time is up SLURM sends USR1 to this script, which hands it
# to the processes: they save, end with code 85, and the job is queued again. --resume is always given, so the job goes on
# where it stopped. A process that dies for another reason starts all of them again, MAX_RESTARTS times (default 3).
set -euo pipefail

asked=0 interrupted=0 restarts=0
stop() { asked=1 interrupted=1; kill -USR1 "${step:-}" 2>/dev/null || true; } # srun hands it to every process
trap stop USR1 TERM # before all else: a request that comes while no srun runs ends the job without a word otherwise
queue_again() {
    echo "$1; job $SLURM_JOB_ID is queued again"
    exec scontrol requeue "$SLURM_JOB_ID"
}

cd "${SLURM_SUBMIT_DIR:?this script is for sbatch}"
if [ $# -lt 1 ]; then echo "usage: sbatch scripts/slurm.sh RECIPE.yaml [key=value ...] [--quick]" >&2; exit 2; fi
source scripts/threads.sh
code=0
bash scripts/setup.sh || code=$?
if [ $code != 0 ] && [ $asked = 0 ]; then exit $code; fi

MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export MASTER_ADDR MASTER_PORT WORLD_SIZE=$SLURM_NTASKS
# shellcheck disable=SC2016  # these are known to each process only
worker='RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID exec .venv/bin/python -m skyeye.train "$@"'

while :; do
    if [ $asked = 1 ]; then queue_again "told to end while no process ran"; fi
    # Not --kill-on-bad-exit: the first process that has saved would end those that still do.
    # Since SLURM 22.05 srun does not take over the job's number of cores: each process would have a single one.
    srun --kill-on-bad-exit=0 --wait=120 ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} bash -c "$worker" worker "$@" --resume &
    step=$!
    if [ $asked = 1 ]; then stop; fi # it came before there was a number to send it to
    interrupted=1
    while [ $interrupted = 1 ]; do # a signal ends `wait` before the processes end
        interrupted=0 code=0
        wait "$step" || code=$?
    done
    step= # its number may soon be that of another process
    if [ $code = 0 ] || [ $code = 2 ]; then exit $code; fi # done, or a mistake in the recipe
    if [ $code = 85 ] || [ $asked = 1 ]; then queue_again "the processes ended with code $code"; fi
    restarts=$((restarts + 1))
    if [ $restarts -gt "${MAX_RESTARTS:-3}" ]; then exit $code; fi
    echo "the processes ended with code $code; start $restarts of ${MAX_RESTARTS:-3} again"
done
