# shellcheck shell=bash disable=SC2034,SC2154
# Every name, address and path of the local cluster, in one place. The variables are used by the
# files that are sourced after this one.

# What runs: a folder under versions/ holds the go.mod files of one Kubernetes version.
version=1.37.2
versions_dir=$local_dir/versions/$version
repo_dir=$(cd -- "$local_dir/../.." && pwd)

# Where it lives on this machine. Nothing is written outside these two folders.
: "${HOME:?the local cluster needs HOME, to find its state and cache folders}"
state_dir=${XDG_STATE_HOME:-$HOME/.local/state}/mbcas/local
cache_dir=${XDG_CACHE_HOME:-$HOME/.cache}/mbcas/local
kubeconfig=$state_dir/admin.kubeconfig
log_dir=$state_dir/log

# The same folders as the node's own mount namespace sees them. Short and fixed: a unix socket's
# path holds 107 bytes at most, and a home folder under /var/lib would be hidden in there.
node_state=/run/mbcas
node_cache=/run/mbcas-bin
containerd_socket=/run/mbcas-containerd.sock

# Addresses from 100.64.0.0/10, which no public network uses: one veth pair joins the machine to
# the node, and two routes lead to the pods and the services behind it.
link=mbcas0
link_alias="mbcas local cluster in ${state_dir:0:200}"
link_net=100.64.0.0/30
host_ip=100.64.0.1
node_ip=100.64.0.2
pod_net=100.65.0.0/24
service_net=100.66.0.0/24
service_ip=100.66.0.1
api_url=https://$node_ip:6443
node_name=node-1

components=(etcd apiserver controller-manager scheduler containerd kubelet proxy)
