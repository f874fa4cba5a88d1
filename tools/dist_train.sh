#!/usr/bin/env bash
# Trains in several processes, one a GPU (on a CPU: gloo ranks), on one machine or several.
set -euo pipefail
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$tools/misc/launchers.sh"

needs_arguments $# 2 \
    "usage: dist_train.sh CONFIG GPUS [arguments of train.py, as --work-dir --resume --amp]" \
    "environment: PORT (a free one; 29500 on several machines), PYTHON (python);" \
    "  several machines, the same command on each: NNODES, NODE_RANK, MASTER_ADDR"
config=$1 gpus=$2
shift 2
run_torchrun "$gpus" "$tools/train.py" "$config" "$@"
