#!/usr/bin/env bash
# A run over the nodes of a Slurm job, with a Ray cluster that lives as long as the job:
#   sbatch scripts/cluster/slurm.sh --space extended --data /shared/slices --results /shared/results --name mine
# Given once more with --resume /shared/results/mine, it goes on with a run that the time limit cut off.
# DRY_RUN=1 bash scripts/cluster/slurm.sh … prints what it would do.
#SBATCH --job-name=bts-tune
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@180
set -euo pipefail

port=${RAY_PORT:-6379}
cpus=${SLURM_CPUS_PER_TASK:-16}
gpus=${SLURM_GPUS_ON_NODE:-0}
count=${SLURM_JOB_NUM_NODES:-3}
head=$(hostname)

do_it() {
    if [ -n "${DRY_RUN:-}" ]; then
        printf '%q ' "$@"
        echo
    else
        "$@"
    fi
}

# Whoever reaches an open port of the cluster runs code on it: each job has a token of its own.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN
export RAY_TMPDIR="/tmp/ray-${SLURM_JOB_ID:-0}" # sockets need short paths, and several jobs may share a node
[ -n "${DRY_RUN:-}" ] || mkdir -p "$RAY_TMPDIR"

do_it ray start --head --port="$port" --num-cpus="$cpus" --num-gpus="$gpus" --temp-dir="$RAY_TMPDIR" --disable-usage-stats
if [ "$count" -gt 1 ]; then
    # With --block the nodes stay until the job ends.
    others=(srun --nodes=$((count - 1)) --ntasks=$((count - 1)) --exclude="$head"
        ray start --address="$head:$port" --num-cpus="$cpus" --num-gpus="$gpus" --block --disable-usage-stats)
    if [ -n "${DRY_RUN:-}" ]; then do_it "${others[@]}"; else "${others[@]}" & fi
fi

# Nodes that come later are used too, so there is nothing to wait for. The time limit's warning ends the run as Ctrl-C does.
if [ -n "${DRY_RUN:-}" ]; then
    do_it bts-tune "$@" --address "$head:$port"
    exit 0
fi
bts-tune "$@" --address "$head:$port" &
run=$!
trap 'kill -TERM "$run"' TERM
code=0
wait "$run" || code=$?
if kill -0 "$run" 2>/dev/null; then # the signal ended the wait, and the run is writing its report
    code=0
    wait "$run" || code=$?
fi
exit "$code"
