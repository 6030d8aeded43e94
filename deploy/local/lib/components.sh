# shellcheck shell=bash disable=SC2154
# The seven programs of the node: their configuration, their start, whether they live.

# write_configs: the files that containerd, CNI, kubelet and the kubeconfig users read.
write_configs() {
  local etc=$state_dir/etc user
  mkdir -p "$etc/cni" "$state_dir/pids" "$state_dir/data"
  for user in kubelet controller-manager scheduler proxy; do
    write_kubeconfig "$user" "$etc/$user.kubeconfig"
  done
  cat >"$etc/cni/10-mbcas.conflist" <<JSON
{
  "cniVersion": "1.0.0",
  "name": "mbcas",
  "plugins": [
    {
      "type": "ptp", "ipMasq": false, "mtu": 1500,
      "ipam": {
        "type": "host-local", "ranges": [[{"subnet": "$pod_net"}]],
        "dataDir": "/run/mbcas-ipam", "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
JSON
  write_containerd_config >"$etc/containerd.toml"
  write_kubelet_config >"$etc/kubelet.yaml"
}

# restrict_oom_score_adj: without CAP_SYS_RESOURCE (a VM inside a sandbox) runc could not lower a
# container's score below its own, and would die of it with a misleading message.
# disable_apparmor: or a profile of containerd's stays loaded in the machine's kernel.
# Snapshots: overlayfs cannot lie on overlayfs, as it would in a container.
write_containerd_config() {
  local snapshotter=overlayfs
  [ "$(stat -f -c %T "$state_dir")" != overlayfs ] || snapshotter=native
  cat <<TOML
version = 3
root = "$node_state/data/containerd"
state = "/run/mbcas-containerd"
[grpc]
  address = "$containerd_socket"
[plugins."io.containerd.internal.v1.opt"]
  path = "$node_state/data/opt"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "$snapshotter"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "$(cat "$state_dir/pause.ref")"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["$(cni_dir)"]
  conf_dir = "$node_state/etc/cni"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
    SystemdCgroup = false
    BinaryName = "$(command -v runc)"
TOML
}

# imageGCHighThresholdPercent 100 switches the collection off: there is no registry to pull a
# collected image from. systemReserved leaves half a core to Kubernetes and the controller.
write_kubelet_config() {
  cat <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
failSwapOn: false
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix://$containerd_socket
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $node_state/pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $node_state/pki/serving.crt
tlsPrivateKeyFile: $node_state/pki/serving.key
address: $node_ip
healthzBindAddress: 127.0.0.1
resolvConf: ""
evictionHard: {memory.available: 100Mi}
imageMinimumGCAge: 24h
imageGCHighThresholdPercent: 100
systemReserved: {cpu: 500m, memory: 1Gi}
enforceNodeAllocatable: [pods]
volumePluginDir: $node_state/data/volume-plugins
podLogsDir: /var/log/pods
YAML
}

# component_command NAME: its command line into the array `command`.
component_command() {
  local pki=$node_state/pki etc=$node_state/etc
  case $1 in
    etcd)
      command=("$(node_tool etcd)" --data-dir "$node_state/data/etcd" --log-level warn
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
        --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync)
      ;;
    apiserver)
      command=("$(node_tool kube-apiserver)" --etcd-servers http://127.0.0.1:2379
        --advertise-address "$node_ip" --secure-port 6443 --bind-address 0.0.0.0
        --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key"
        --client-ca-file "$pki/ca.crt" --service-account-issuer https://kubernetes.default.svc
        --service-account-key-file "$pki/service-account.pub"
        --service-account-signing-key-file "$pki/service-account.key"
        --service-cluster-ip-range "$service_net" --authorization-mode "Node,RBAC"
        --allow-privileged=true --enable-admission-plugins NodeRestriction
        --kubelet-client-certificate "$pki/admin.crt" --kubelet-client-key "$pki/admin.key"
        --kubelet-preferred-address-types InternalIP
        --requestheader-client-ca-file "$pki/ca.crt" --requestheader-allowed-names front-proxy
        --requestheader-extra-headers-prefix X-Remote-Extra-
        --requestheader-group-headers X-Remote-Group
        --requestheader-username-headers X-Remote-User
        --proxy-client-cert-file "$pki/front.crt" --proxy-client-key-file "$pki/front.key")
      ;;
    controller-manager)
      command=("$(node_tool kube-controller-manager)" --kubeconfig "$etc/controller-manager.kubeconfig"
        --use-service-account-credentials --root-ca-file "$pki/ca.crt"
        --service-account-private-key-file "$pki/service-account.key"
        --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key"
        --flex-volume-plugin-dir "$node_state/data/volume-plugins"
        --leader-elect=false --bind-address 127.0.0.1)
      ;;
    scheduler)
      command=("$(node_tool kube-scheduler)" --kubeconfig "$etc/scheduler.kubeconfig"
        --leader-elect=false --bind-address 127.0.0.1)
      ;;
    containerd)
      command=("$(node_tool containerd)" -c "$etc/containerd.toml")
      ;;
    kubelet)
      command=("$(node_tool kubelet)" --config "$etc/kubelet.yaml" --kubeconfig "$etc/kubelet.kubeconfig"
        --hostname-override "$node_name" --node-ip "$node_ip" --v=2
        --root-dir "$node_state/data/kubelet" --cert-dir "$node_state/data/kubelet/pki")
      ;;
    proxy)
      command=("$(node_tool kube-proxy)" --kubeconfig "$etc/proxy.kubeconfig"
        --hostname-override "$node_name" --cluster-cidr "$pod_net" --proxy-mode iptables
        --conntrack-max-per-core 0 --bind-address "$node_ip")
      ;;
  esac
}

# component_pid NAME: the machine's PID of a living component; else fails. The recorded PID is the
# node's own, where nothing but the cluster runs; start time and executable must fit as well.
component_pid() {
  local holder pid start stat after_name command=() proc
  holder=$(node_pid) || return 1
  read -r pid start 2>/dev/null <"$state_dir/pids/$1" || return 1
  proc=/proc/$holder/root/proc/$pid
  read -r stat 2>/dev/null <"$proc/stat" || return 1
  after_name=${stat##*) }
  [ "${after_name%% *}" != Z ] && [ "$(cut -d' ' -f20 <<<"$after_name")" = "$start" ] || return 1
  component_command "$1"
  [ "$(basename "$(readlink "$proc/exe")")" = "$(basename "${command[0]}")" ] || return 1
  printf '%s' "$pid"
}

# start_component NAME: unless it lives. Its first child in there is adopted by the node's PID 1.
start_component() {
  local command=() bin
  ! component_pid "$1" >/dev/null || return 0
  rm -f "$state_dir/pids/$1"
  component_command "$1"
  bin=$(dirname "$(node_tool containerd)")
  [ ! -e "$log_dir/$1.log" ] || mv "$log_dir/$1.log" "$log_dir/$1.log.previous"
  # The shell in the middle writes its own PID, then becomes the component.
  # shellcheck disable=SC2016
  in_node env -i PATH="$bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root \
    setsid --fork bash -c '
      read -r stat </proc/self/stat
      after=${stat##*) }
      set -- "$1" "$2" "$(cut -d" " -f20 <<<"$after")" "${@:3}"
      printf "%s %s\n" "$$" "$3" >"$1/pids/$2"
      name=$2 state=$1
      shift 3
      exec "$@" </dev/null >"$state/log/$name.log" 2>&1
    ' start "$node_state" "$1" "${command[@]}" 9>&- || return 1
  # Until the shell has become the component, or the component has come and gone.
  wait_until 2 "$1" component_pid "$1" || true
}

# await_component NAME SECONDS COMMAND...: until the command succeeds. A program that died ends the
# wait at once; the logs shown are those of the dead, or else of the one that does not answer.
await_component() {
  local name=$1 limit=$2 dead
  shift 2
  wait_until "$limit" "$name" answers_or_some_died "$@" || true
  ! "$@" >/dev/null 2>&1 || return 0
  dead=$(dead_components)
  for name in ${dead:-"$name"}; do
    if [ -n "$dead" ]; then say "$name died"; else say "$name does not answer"; fi
    show_log "$log_dir/$name.log"
  done
  return 1
}

answers_or_some_died() { "$@" || [ -n "$(dead_components)" ]; }

# dead_components: those that were started and live no more.
dead_components() {
  local name
  for name in "${components[@]}"; do
    [ ! -e "$state_dir/pids/$name" ] || component_pid "$name" >/dev/null || printf '%s\n' "$name"
  done
}
