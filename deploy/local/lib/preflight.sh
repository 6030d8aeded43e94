# shellcheck shell=bash disable=SC2154
# What must hold before anything is made. Each refusal says what to do, and leaves nothing behind.

require_linux_root() {
  [ "$(uname -s)" = Linux ] ||
    fail "the local cluster runs on Linux only (this is $(uname -s))." \
      "Use a cluster of your own with MBCAS_CONTEXT, or \`make test-unit\` for the tests without one."
  [ "$(id -u)" = 0 ] ||
    fail "the local cluster needs root: it makes namespaces, cgroups and a network link." \
      "Run it as root, or: sudo -E env PATH=\"\$PATH\" HOME=\"\$HOME\" $0 $*"
}

require_commands() {
  local name missing=()
  for name in unshare nsenter mount ip iptables conntrack runc openssl flock setsid awk find; do
    command -v "$name" >/dev/null || missing+=("$name")
  done
  [ -n "$(cni_dir)" ] || missing+=("CNI plugins (ptp, host-local, portmap, loopback)")
  [ "${#missing[@]}" = 0 ] ||
    fail "not installed: $(IFS=,; echo "${missing[*]}")." \
      "This lists and installs them: $repo_dir/deploy/prerequisites.sh"
}

# cni_dir: the folder of the CNI plugins: Debian's, or the one everybody else uses.
cni_dir() {
  local dir
  for dir in /usr/lib/cni /opt/cni/bin /usr/libexec/cni; do
    if [ -x "$dir/ptp" ] && [ -x "$dir/host-local" ] && [ -x "$dir/portmap" ] && [ -x "$dir/loopback" ]; then
      printf '%s' "$dir"
      return
    fi
  done
}

# require_cgroups: the cpu controller, where a kubelet finds it. Version 1 has a mount per
# controller; version 2 lists them at its root, which must be the machine's root and not a
# container's, because processes and children may not share a group anywhere else.
require_cgroups() {
  local root
  if awk '$3 == "cgroup" && $4 ~ /(^|,)cpu(,|$)/ { found = 1 } END { exit !found }' /proc/self/mounts; then
    return
  fi
  root=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
  if [ -z "$root" ] || ! grep -qw cpu "$root/cgroup.controllers" 2>/dev/null; then
    fail "this kernel offers no cgroup cpu controller, so that no CPU limit could be set." \
      "Boot with cgroups enabled (not cgroup_disable=cpu); in a container: --privileged --cgroupns=host."
  fi
  if [ -e "$root/cgroup.type" ]; then
    fail "$root is a container's cgroup, and a kubelet needs the machine's root." \
      "Start the container with --privileged --cgroupns=host, or run on the machine itself."
  fi
}

# require_disk: a cold build fills Go's cache too.
require_disk() {
  local need free dir=$cache_dir what
  if [ -n "$(missing_tool_sets)" ]; then
    need=6 what="to build the cluster's binaries"
  else
    need=2 what="for the cluster's data" dir=$state_dir
  fi
  mkdir -p "$dir"
  free=$(($(stat -f -c '%a * %S' "$dir") / 1073741824))
  [ "$free" -ge "$need" ] ||
    fail "only $free GiB are free where $dir lives; $need GiB are needed $what." \
      "Make room, or set XDG_CACHE_HOME and XDG_STATE_HOME to a larger disk."
}

# require_addresses: nobody else uses the ranges, not even for a part of them.
require_addresses() {
  local alias net used
  if ip link show dev "$link" >/dev/null 2>&1; then
    alias=$(found_alias)
    fail "the network link $link exists already (${alias:-not made by this program})." \
      "One local cluster per machine: take the other one down first, or: ip link delete $link"
  fi
  for net in "$link_net" "$pod_net" "$service_net"; do
    used=$(routes_within_or_around "$net" | head -n 1)
    [ -z "$used" ] ||
      fail "the address range $net is in use on this machine:" "$used" \
        "The local cluster uses $link_net, $pod_net and $service_net. Take that network down first."
  done
}

# routes_within_or_around NET: those that overlap it, except the defaults (a VPN's two /1 halves
# are defaults too): such a wide route loses nothing by our narrower ones.
routes_within_or_around() {
  ip route show table all root "$1"
  ip route show table all match "$1" | awk '{ split($1 ~ /^[0-9]/ ? $1 : $2, net, "/") } net[2] >= 8'
}

# require_no_other_kubelet: its groups would be mixed with ours, and `down` could not tell.
require_no_other_kubelet() {
  local root
  for root in $(cgroup_mounts); do
    [ ! -d "$root/kubepods" ] ||
      fail "$root/kubepods exists and was not made by this program: another kubelet runs or ran here." \
        "Stop it; if it is gone: find $root/kubepods -depth -type d -exec rmdir {} +"
  done
}
