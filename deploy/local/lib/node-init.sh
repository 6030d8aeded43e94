#!/usr/bin/env bash
# The first process of the node, PID 1 of its own PID, mount and network namespaces. It covers the
# folders that Kubernetes writes to wherever it is told to live, and then only reaps orphans. When
# it is killed the kernel ends everything else in there, and mounts, iptables rules, routes and the
# link vanish with the namespaces.
# Usage (by node.sh only): node-init.sh STATE_DIR CACHE_DIR
set -euo pipefail
state=$1 cache=$2

# /proc is still the machine's here: our PID and start time as the machine sees them.
read -r stat </proc/self/stat
host_pid=${stat%% *}
after_name=${stat##*) }
start_time=$(cut -d' ' -f20 <<<"$after_name")
boot=$(cat /proc/sys/kernel/random/boot_id)

# Pods want mounts to travel between containers; nothing travels back to the machine, because
# this namespace was made a slave of it.
# (--no-mtab: or the mount command would create /run/mount on the machine.)
mount --no-mtab --make-rshared /
mount --no-mtab -t proc -o nosuid,nodev,noexec proc /proc

# A fresh /run, and in it the two folders under short names that cannot be hidden by what follows.
mount --no-mtab -t tmpfs -o mode=755,nosuid,nodev mbcas-run /run
mkdir /run/mbcas /run/mbcas-bin /run/lock /run/mbcas-kernel
mount --no-mtab --bind "$state" /run/mbcas
mount --no-mtab --bind "$cache" /run/mbcas-bin

# /var/lib/{kubelet/device-plugins,cni,...} and /var/log/{pods,containers} are fixed paths.
mkdir -p /run/mbcas/data/var-lib /run/mbcas/data/var-log
mount --no-mtab --bind /run/mbcas/data/var-lib /var/lib
mount --no-mtab --bind /run/mbcas/data/var-log /var/log

# The kubelet sets these to its taste for the whole machine. It writes only where the value
# differs, so it is shown files that already say what it wants.
kernel_setting() {
  local file=/proc/sys/$1 shown=/run/mbcas-kernel/${1//\//.}
  [ -e "$file" ] || return 0
  printf '%s\n' "$2" >"$shown"
  mount --no-mtab --bind "$shown" "$file"
}
kernel_setting vm/overcommit_memory 1
kernel_setting vm/panic_on_oom 0
kernel_setting kernel/panic 10
kernel_setting kernel/panic_on_oops 1
kernel_setting kernel/keys/root_maxkeys 1000000
kernel_setting kernel/keys/root_maxbytes 25000000

ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward

printf '%s %s %s\n' "$host_pid" "$start_time" "$boot" >/run/mbcas/node.id.new
mv /run/mbcas/node.id.new /run/mbcas/node.id

# `wait` lets bash reap every child, the adopted ones too.
trap 'exit 0' TERM
while :; do
  sleep infinity &
  wait "$!" || true
done
