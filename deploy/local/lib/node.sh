# shellcheck shell=bash disable=SC2154
# The node: one process (node-init.sh) that holds a PID, a mount and a network namespace. Whatever
# Kubernetes makes in there belongs to it and dies with it, so that "clean up" is "kill one
# process, whose identity is certain, and remove the empty cgroups".

# node_pid: prints the holder's PID if it lives; else fails. A PID alone may have been given to
# another process since: the start time and the boot must be the recorded ones.
node_pid() {
  local pid start boot stat after_name
  read -r pid start boot 2>/dev/null <"$state_dir/node.id" || return 1
  [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] || return 1
  read -r stat 2>/dev/null <"/proc/$pid/stat" || return 1
  after_name=${stat##*) }
  [ "$(cut -d' ' -f1,20 <<<"$after_name" | tr -d 'ZX')" = "${after_name%% *} $start" ] || return 1
  printf '%s' "$pid"
}

# adopt_node: finds our node again if its record is lost (somebody emptied the state folder). It is
# the process that runs node-init.sh for this very folder and is PID 1 of a namespace of its own.
adopt_node() {
  local proc stat after_name
  if node_pid >/dev/null || ! link_is_ours; then return; fi
  for proc in /proc/[0-9]*; do
    [ "$(awk '$1 == "NSpid:" { print NF $NF }' "$proc/status" 2>/dev/null)" = 31 ] || continue
    [[ "$(tr '\0' ' ' 2>/dev/null <"$proc/cmdline")" = *"/lib/node-init.sh $state_dir "* ]] || continue
    read -r stat <"$proc/stat"
    after_name=${stat##*) }
    printf '%s %s %s\n' "${proc#/proc/}" "$(cut -d' ' -f20 <<<"$after_name")" \
      "$(cat /proc/sys/kernel/random/boot_id)" >"$state_dir/node.id"
    : >"$state_dir/owns-kubepods"
    return
  done
}

# in_node COMMAND...: runs it inside the node, with this terminal. Proxies are not for in there.
in_node() {
  local pid
  pid=$(node_pid) || fail "the local cluster is not up." "Start it: $0 up"
  env -u HTTP_PROXY -u HTTPS_PROXY -u http_proxy -u https_proxy \
    nsenter --target "$pid" --mount --net --pid -- "$@"
}

# create_node: namespaces, holder, and the link to it.
create_node() {
  rm -f "$state_dir/node.id"
  setsid unshare --mount --net --pid --fork --kill-child --propagation slave -- \
    bash "$local_dir/lib/node-init.sh" "$state_dir" "$cache_dir" \
    </dev/null >"$log_dir/node.log" 2>&1 9>&- &
  disown
  if ! wait_until 10 "the node's namespaces" node_pid; then
    show_log "$log_dir/node.log"
    fail "the node's namespaces could not be made (see above)." \
      "This needs real root: CAP_SYS_ADMIN and a writable /proc/sys. In a container: --privileged."
  fi
  connect_node
}

# connect_node: one veth pair, two routes. Inside, services are on the link to this machine, where
# nobody answers for them: kube-proxy's rules rewrite a packet before that matters. Not on lo: the
# kernel sends no ICMP for what would have gone there, so that a Service without endpoints would not
# refuse the API server's calls, as it does elsewhere, but let them time out.
connect_node() {
  local pid
  pid=$(node_pid)
  ip link add "$link" type veth peer name eth0 netns "$pid" ||
    fail "the network link $link could not be made."
  ip link set "$link" alias "$link_alias"
  ip address add "$host_ip/30" dev "$link"
  ip link set "$link" up
  in_node ip address add "$node_ip/30" dev eth0
  in_node ip link set eth0 up
  in_node ip route add "$service_net" dev eth0 src "$node_ip"
  ip route add "$pod_net" via "$node_ip" dev "$link"
  ip route add "$service_net" via "$node_ip" dev "$link"
}

# cgroup_mounts: every cgroup hierarchy of the machine, one a line.
cgroup_mounts() {
  awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/self/mounts
}

# remove_cgroups: the kubepods groups. rmdir refuses a group that holds a process, which is what
# keeps this from harming anybody; the dying take a moment to leave.
remove_cgroups() {
  local root
  for root in $(cgroup_mounts); do
    [ -d "$root/kubepods" ] || continue
    wait_until 15 "$root/kubepods to empty" remove_cgroup_tree "$root/kubepods" ||
      fail "the cgroup $root/kubepods could not be removed: a process is still in it." \
        "See which: cat \$(find $root/kubepods -name cgroup.procs)"
  done
}

remove_cgroup_tree() {
  [ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {} +
}

# destroy_node: ends everything in the node and removes what the machine can still see of it:
# after `down`, and equally after a crash, a kill -9 or a reboot.
destroy_node() {
  local pid
  if pid=$(node_pid); then
    kill -KILL "$pid"
    # The kernel lets PID 1 go only after all others of its namespace are gone.
    wait_until 30 "the node's processes to end" node_is_gone ||
      fail "processes of the node do not end (in uninterruptible sleep?)." "See: ps -eo pid,stat,cmd"
  fi
  rm -f "$state_dir/node.id" "$state_dir/complete"
  # The link goes with the network namespace by itself, but a little later than we need.
  if link_is_ours; then
    ip link delete "$link" 2>/dev/null || true
  fi
  if [ -e "$state_dir/owns-kubepods" ]; then
    remove_cgroups
    rm -f "$state_dir/owns-kubepods"
  fi
  rm -rf "$state_dir/data" "$state_dir/pids" "$state_dir/pki" "${state_dir:?}/etc" "$kubeconfig"
}

node_is_gone() { ! node_pid; }

link_is_ours() { [ "$(found_alias)" = "$link_alias" ]; }

# found_alias: what the link on this machine says of itself; nothing if there is none.
found_alias() { ip link show dev "$link" 2>/dev/null | sed -n 's/^ *alias //p'; }

# leftovers: succeeds if a dead run left something to clean.
leftovers() {
  [ -e "$state_dir/owns-kubepods" ] || [ -e "$state_dir/node.id" ] || link_is_ours ||
    [ -d "$state_dir/data" ]
}
