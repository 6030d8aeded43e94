#!/usr/bin/env bash
# The demo: three services with equal requests and budgets 600, 300 and 100 on one node, beside two
# noisy neighbours; the same load once while MBCAS only observes, and once while it acts.
#
#   deploy/demo/run.sh          on the local cluster, which it starts if needed
#   MBCAS_CONTEXT=name …        on a cluster of yours: that context of your kubeconfig, and no other.
#                               MBCAS_REGISTRY=host/path is where it finds the images;
#                               MBCAS_NODE=name the node to use (default: the first that takes pods)
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."

# On the local cluster one demo or suite runs at a time.
if [ -z "${MBCAS_CONTEXT:-}" ] && [ -z "${MBCAS_DEMO_ALONE:-}" ]; then
  exec deploy/local/cluster alone env MBCAS_DEMO_ALONE=yes "$PWD/deploy/demo/run.sh"
fi

demo=deploy/demo
records=target/demo
namespaces=(mbcas-demo mbcas-demo-noise mbcas-demo-load)
# The clock of all scripts below us, so that one column of times runs through.
say() { printf '[%4ds] demo: %s\n' "$SECONDS" "$*" >&2; }
fail() { printf 'demo: %s\n' "$@" >&2; exit 1; }

if [ -n "${MBCAS_CONTEXT:-}" ]; then
  for tool in kubectl helm; do
    command -v "$tool" >/dev/null || fail "MBCAS_CONTEXT is set, and $tool is not installed."
  done
  kubectl=(kubectl --context "$MBCAS_CONTEXT")
  helm=(helm --kube-context "$MBCAS_CONTEXT")
  referee_at=(--context "$MBCAS_CONTEXT")
  "${kubectl[@]}" get --raw /readyz --request-timeout=10s >/dev/null ||
    fail "context $MBCAS_CONTEXT does not answer; see: kubectl --context $MBCAS_CONTEXT cluster-info"
else
  kubectl=("$PWD/deploy/local/cluster" kubectl)
  helm=("$PWD/deploy/local/cluster" helm)
  referee_at=(--kubeconfig "${XDG_STATE_HOME:-$HOME/.local/state}/mbcas/local/admin.kubeconfig")
fi
referee() {
  MBCAS_DEMO_KUBECTL="${kubectl[*]}" "target/$(rustc -vV | sed -n 's/^host: //p')/release/mbcas-lab" demo "${referee_at[@]}" "$@"
}

# image NAME: its full reference.
image() { cat "target/images/$1.ref"; }

# apply FILE: a manifest of the demo, with the images, the node and the noise of this cluster.
apply() {
  sed -e "s#MBCAS_IMAGE#$(image mbcas)#" -e "s#MBCAS_NODE#$node#" -e "s#MBCAS_PULL_POLICY#IfNotPresent#" \
    -e "s#MBCAS_NOISE_THREADS#$noise_threads#" "$demo/$1" | "${kubectl[@]}" apply -f - >/dev/null
}

# wait_for NAMESPACE: until everything in it runs.
wait_for() {
  local deployment
  for deployment in $("${kubectl[@]}" --namespace "$1" get deployments -o name); do
    "${kubectl[@]}" --namespace "$1" rollout status "$deployment" --timeout=120s >/dev/null ||
      { "${kubectl[@]}" --namespace "$1" get pods -o wide >&2; fail "$deployment in $1 did not start."; }
  done
}

# injects: waits until a pod that is created in mbcas-demo gets an agent. API servers call a webhook that has
# become ready a moment later, and pods that come before that start as they are.
injects() {
  local probe='{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "annotations": {"mbcas.enabled": "true"}},
    "spec": {"containers": [{"name": "app", "image": "probe", "resources": {"requests": {"cpu": "10m"}}}]}}'
  for _ in $(seq 60); do
    "${kubectl[@]}" --namespace mbcas-demo create --dry-run=server --filename - --output json <<<"$probe" 2>/dev/null |
      grep --quiet mbcas-demand-agent && return
    sleep 0.5
  done
  fail "the webhook does not inject into namespace mbcas-demo: see its log (kubectl --namespace mbcas-system logs deployment/mbcas-webhook)."
}

# clear_broken: takes away what an interrupted install or uninstall left; helm would not upgrade it.
clear_broken() {
  local state
  state=$("${helm[@]}" status mbcas --namespace mbcas-system --output json 2>/dev/null | jq -r .info.status || true)
  case $state in
    pending-* | uninstalling) "${helm[@]}" uninstall mbcas --namespace mbcas-system --no-hooks --wait >/dev/null ;;
  esac
}

# install MODE: the chart, with MBCAS going as far as MODE. Waits until it runs.
# By the plain rule, under which shares are exactly those of budgets: by the default one whoever has most
# budget also uses what is left over.
install() {
  local name=() reference part
  for part in mbcas agent; do
    reference=$(image "$part")
    [ "$part" = mbcas ] && name=(image) || name=(agent.image)
    values+=(--set "${name[0]}.registry=${reference%/*}" --set "${name[0]}.repository=$(basename "${reference%:*}")"
      --set-string "${name[0]}.tag=${reference##*:}")
  done
  "${helm[@]}" upgrade --install mbcas ./chart --namespace mbcas-system --create-namespace \
    "${values[@]}" --set "controller.mode=$1" --set controller.policy=proportional --wait --timeout 3m >/dev/null
}
values=()

began=$SECONDS
if [ -z "${MBCAS_CONTEXT:-}" ]; then
  say "local cluster (up: 2 s; binaries cached: 20 s; first time on 2 cores: 12 min), images meanwhile"
  # Compiling Go and Rust side by side keeps both cores busy where either alone would not.
  # A process group of its own, so that nothing of it goes on if the cluster does not come up.
  set -m
  deploy/images.sh --no-load >/dev/null &
  set +m
  images=$!
  trap 'kill -- "-$images" 2>/dev/null || true' EXIT
  deploy/local/cluster up
  wait "$images" || fail "the images could not be built (see above)."
  trap - EXIT
fi
say "images (nothing changed: 5 s; first time on 2 cores: 7 min)"
deploy/images.sh >/dev/null

say "what an earlier demo left is removed (15 s)"
"${kubectl[@]}" delete namespace "${namespaces[@]}" --ignore-not-found --wait >/dev/null
say "chart: helm upgrade --install, MBCAS only observing (20 s)"
clear_broken
install observe

node=${MBCAS_NODE:-$("${kubectl[@]}" get nodes -o json | jq -r '[.items[] | select((.spec.taints // []) | all(.effect == "PreferNoSchedule"))][0].metadata.name')}
[ "$node" != null ] || fail "no node takes pods: name one in MBCAS_NODE."
cores=$("${kubectl[@]}" get node "$node" -o 'jsonpath={.status.capacity.cpu}')
# Half of the node's cores each: one full core on the smallest machine, contention on every other.
noise_threads=$(((cores + 1) / 2))

say "three services and a place for the load on node $node (20 s)"
sed '/^---$/q' "$demo/services.yaml" | "${kubectl[@]}" apply -f - >/dev/null
injects
apply services.yaml
apply load.yaml
wait_for mbcas-demo
"${kubectl[@]}" --namespace mbcas-demo-load wait --for=condition=Ready pod/load --timeout=60s >/dev/null

say "a pod with mbcas.budget: \"lots\" (must be refused)"
mkdir -p "$records"
"${kubectl[@]}" --namespace mbcas-demo run lots --image "$(image mbcas)" --annotations mbcas.budget=lots \
  --command -- /bin/mbcas-lab serve >"$records/refusal.txt" 2>&1 || true

set_up=$((SECONDS - began))
say "set up in $set_up s; from here on it is observation (about 8 min 30 s)"
say "grants without neighbours (45 s)"
referee grants --out "$records/quiet.json"
say "two noisy neighbours in a namespace without the label, $noise_threads thread(s) each"
apply noise.yaml
wait_for mbcas-demo-noise
say "grants beside them (45 s)"
referee grants --out "$records/noisy.json"

say "observe: both phases (2 min 30 s)"
referee measure --mode observe --warm-up 20 --grants "$records/noisy.json" --out "$records/observed.json"
say "helm upgrade: MBCAS acts from now on (20 s)"
install auto
say "auto: the same load (4 min)"
referee measure --mode auto --grants "$records/noisy.json" --out "$records/acted.json"

# Nobody looks at them any more, and they would burn their cores until `make down`.
"${kubectl[@]}" --namespace mbcas-demo-noise scale deployment --all --replicas 0 >/dev/null

status=0
referee verdict --quiet "$records/quiet.json" --noisy "$records/noisy.json" --observed "$records/observed.json" \
  --acted "$records/acted.json" --refusal "$records/refusal.txt" || status=$?
say "done: set-up $set_up s, observation $((SECONDS - began - set_up)) s"
if [ -z "${MBCAS_CONTEXT:-}" ]; then
  say "the cluster stays up. Look: deploy/local/cluster kubectl --namespace mbcas-demo get pods; remove: make down"
fi
exit "$status"
