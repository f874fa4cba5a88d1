#!/usr/bin/env bash
# A Slurm of one machine, for tests: controller, daemon and munge of its own, with two made-up GPUs.
#   cluster.sh start FOLDER    as root; SLURM_CONF=FOLDER/slurm.conf is what clients need then
#   cluster.sh stop FOLDER
set -euo pipefail
folder=$(realpath "$2") host=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf

stop() {
    local name
    for name in slurmd slurmctld munged; do
        [ ! -s "$folder/$name.pid" ] || kill "$(cat "$folder/$name.pid")" 2> /dev/null || true
    done
}

start() {
    local port=$((30000 + RANDOM % 10000)) number
    mkdir -p "$folder"/{state,spool,munge}
    chmod 755 "$folder" "$folder/munge"
    # Slurm takes GPUs from device nodes, and looks no further.
    for number in 0 1; do mknod "$folder/gpu$number" c 240 "$number"; done
    dd if=/dev/urandom of="$folder/munge/key" bs=1 count=1024 status=none
    chmod 600 "$folder/munge/key"
    # Debian's proctrack/cgroup and task plugins want cgroups that a container has not.
    cat > "$SLURM_CONF" <<END
ClusterName=tests
SlurmctldHost=$host
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
AuthInfo=socket=$folder/munge/socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/jobs.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=1,sched_interval=2,batch_sched_delay=0
KillWait=30
MinJobAge=3600
OverTimeLimit=0
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=$host CPUs=4 Gres=gpu:2 State=UNKNOWN
PartitionName=tests Nodes=ALL Default=YES MaxTime=60 OverSubscribe=FORCE:4
END
    echo "NodeName=$host Name=gpu File=$folder/gpu[0-1]" > "$folder/gres.conf"
    echo "CgroupPlugin=cgroup/v1" > "$folder/cgroup.conf"
    : > "$folder/jobs.txt"
    munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
        --pid-file="$folder/munged.pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
    slurmctld -c
    slurmd
    for _ in $(seq 60); do
        if sinfo --noheader --format=%t 2> /dev/null | grep -q '^idle$'; then return; fi
        sleep 0.5
    done
    echo "error: the node did not come up" >&2
    tail -n 20 "$folder"/slurm*.log >&2
    stop
    exit 1
}

"$1"
