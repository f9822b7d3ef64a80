#!/bin/bash
# Any command of isofield on several machines:
#
#   sbatch docs/slurm.sh train.py --config configs/imnet/autoencoder.yaml --resume
#   sbatch --nodes=1 --gpus-per-node=0 --export=ALL,RANKS=16 docs/slurm.sh -m data_processing --config configs/data/mine.yaml
#   sbatch docs/slurm.sh generate.py --run runs/imnet --split test
#
# Data set and runs have to lie where all machines see them. Slurm sends SIGTERM two minutes before the time is up:
# training writes a checkpoint and ends. Submit it several times with --dependency=singleton and each goes on where the
# one before stopped; --requeue does the same after a preemption.
#SBATCH --job-name=isofield
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append

set -euo pipefail
if [ "$1" = -m ]; then
  shift
  set -- -m -- "$@"
else
  set -- -- "$@" # torchrun would take --run for one of its own options
fi
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --kill-on-bad-exit=1 torchrun \
  --nnodes="$SLURM_NNODES" --nproc-per-node="${RANKS:-${SLURM_GPUS_ON_NODE:-1}}" \
  --rdzv-backend=c10d --rdzv-endpoint="$first:${PORT:-29400}" --rdzv-id="$SLURM_JOB_ID" \
  "$@"
