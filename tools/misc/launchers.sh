# Shared by dist_*.sh and slurm_*.sh, which source it: starting a tool in several processes.

PYTHON=${PYTHON:-python}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

# needs_arguments GIVEN WANTED USAGE...: a script's arguments are all there, or its usage is shown.
needs_arguments() {
    local given=$1 wanted=$2
    shift 2
    if [ "$given" -lt "$wanted" ]; then
        printf '%s\n' "$@" >&2
        exit 2
    fi
}

# is_count NAME VALUE: a positive whole number.
is_count() {
    [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1 must be a positive whole number, got '$2'"
}

# run_torchrun GPUS TOOL ARGUMENTS...: GPUS processes on this machine, one of NNODES.
run_torchrun() {
    local gpus=$1 tool=$2 nodes=${NNODES:-1} address=127.0.0.1 port=${PORT:-}
    shift 2
    is_count GPUS "$gpus"
    is_count NNODES "$nodes"
    if [ "$nodes" -gt 1 ]; then
        # The nodes wait for each other for minutes when one of these is wrong.
        [ -n "${NODE_RANK:-}" ] || fail "NNODES=$nodes needs NODE_RANK: 0 on the first node, 1 on the second, ..."
        [ -n "${MASTER_ADDR:-}" ] || fail "NNODES=$nodes needs MASTER_ADDR: the address of the first node"
        address=$MASTER_ADDR
        port=${port:-29500}
    else
        # Any free one, so that two jobs on a machine do not meet.
        port=${port:-$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')}
    fi
    exec "$PYTHON" -m torch.distributed.run --nnodes="$nodes" --node_rank="${NODE_RANK:-0}" \
        --nproc_per_node="$gpus" --master_addr="$address" --master_port="$port" \
        "$tool" "$@" --launcher pytorch
}

# run_srun PARTITION JOB_NAME TOOL ARGUMENTS...: one task a GPU, GPUS of them.
run_srun() {
    local partition=$1 job_name=$2 tool=$3 gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-}
    local -a extra
    shift 3
    is_count GPUS "$gpus"
    per_node=${per_node:-$((gpus < 8 ? gpus : 8))}
    is_count GPUS_PER_NODE "$per_node"
    is_count CPUS_PER_TASK "${CPUS_PER_TASK:-5}"
    command -v srun > /dev/null || fail 'srun is not on PATH: is this a machine of a Slurm cluster?'
    # The same for all tasks; mmengine's own default is one for everybody.
    export MASTER_PORT=${PORT:-$((20000 + RANDOM % 10000))}
    read -r -a extra <<< "${SRUN_ARGS:-}"
    exec srun --partition="$partition" --job-name="$job_name" --gres=gpu:"$per_node" \
        --ntasks="$gpus" --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" \
        --kill-on-bad-exit=1 ${extra[@]+"${extra[@]}"} \
        "$PYTHON" -u "$tool" "$@" --launcher slurm
}
