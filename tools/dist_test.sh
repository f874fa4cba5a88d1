#!/usr/bin/env bash
# Tests a checkpoint in several processes, one a GPU (on a CPU: gloo ranks).
set -euo pipefail
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$tools/misc/launchers.sh"

needs_arguments $# 3 \
    "usage: dist_test.sh CONFIG CHECKPOINT GPUS [arguments of test.py, as --work-dir --out]" \
    "environment: PORT (a free one; 29500 on several machines), PYTHON (python);" \
    "  several machines, the same command on each: NNODES, NODE_RANK, MASTER_ADDR"
config=$1 checkpoint=$2 gpus=$3
shift 3
run_torchrun "$gpus" "$tools/test.py" "$config" "$checkpoint" "$@"
