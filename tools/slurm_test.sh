#!/usr/bin/env bash
# Tests a checkpoint under Slurm, one task a GPU.
set -euo pipefail
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$tools/misc/launchers.sh"

needs_arguments $# 4 \
    "usage: slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of test.py]" \
    "environment: GPUS (8), GPUS_PER_NODE (GPUS, at most 8), CPUS_PER_TASK (5), PORT (random)," \
    "  SRUN_ARGS (more arguments of srun), PYTHON (python)"
partition=$1 job_name=$2 config=$3 checkpoint=$4
shift 4
run_srun "$partition" "$job_name" "$tools/test.py" "$config" "$checkpoint" "$@"
