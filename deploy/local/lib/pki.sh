# shellcheck shell=bash disable=SC2154
# Certificates and kubeconfigs, new at every start: they are cheap, and nothing outlives a node.

# authority NAME SUBJECT: a P-256 key and a certificate that may sign others.
authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
    -keyout "$1.key" -out "$1.crt" -subj "$2" 2>>"$log_dir/pki.log"
}

# certificate NAME SUBJECT [ALTNAMES [AUTHORITY]]: the same by the cluster's authority, or another.
certificate() {
  local extension="basicConstraints=CA:FALSE" by=${4:-ca}
  [ -z "${3:-}" ] || extension+=$'\n'"subjectAltName=$3"
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
    -keyout "$1.key" -out "$1.csr" -subj "$2" 2>>"$log_dir/pki.log"
  openssl x509 -req -in "$1.csr" -CA "$by.crt" -CAkey "$by.key" -CAcreateserial -days 365 \
    -out "$1.crt" -extfile <(printf '%s' "$extension") 2>>"$log_dir/pki.log"
  rm "$1.csr"
}

# make_pki: everything under $state_dir/pki, readable by root alone.
make_pki() {
  (
    umask 077
    mkdir -p "$state_dir/pki"
    cd "$state_dir/pki"
    : >"$log_dir/pki.log"
    authority ca /CN=mbcas-local-ca
    local names="DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost"
    certificate apiserver /CN=kube-apiserver "$names,IP:127.0.0.1,IP:$node_ip,IP:$service_ip"
    certificate admin /O=system:masters/CN=admin
    certificate kubelet "/O=system:nodes/CN=system:node:$node_name" "DNS:$node_name,IP:$node_ip"
    # What kubelets make for themselves where nobody signs for them, as kubeadm leaves it.
    authority self-signed-ca "/CN=$node_name-ca"
    certificate self-signed "/CN=$node_name" "DNS:$node_name,IP:$node_ip" self-signed-ca
    serve_with kubelet
    certificate controller-manager /CN=system:kube-controller-manager
    certificate scheduler /CN=system:kube-scheduler
    certificate proxy /CN=system:kube-proxy
    certificate front /CN=front-proxy
    openssl genrsa -out service-account.key 2048 2>>"$log_dir/pki.log"
    openssl rsa -in service-account.key -pubout -out service-account.pub 2>>"$log_dir/pki.log"
  ) || { show_log "$log_dir/pki.log"; fail "the certificates could not be made."; }
}

# serve_with NAME: the kubelet's HTTPS server has this certificate when it starts next.
serve_with() {
  cp "$state_dir/pki/$1.crt" "$state_dir/pki/serving.crt"
  cp "$state_dir/pki/$1.key" "$state_dir/pki/serving.key"
}

# write_kubeconfig USER FILE: with everything inside, so that the file works from anywhere.
write_kubeconfig() {
  local pki=$state_dir/pki
  (
    umask 077
    cat >"$2.new" <<YAML
apiVersion: v1
kind: Config
clusters:
- name: mbcas-local
  cluster:
    server: $api_url
    certificate-authority-data: $(base64 -w 0 "$pki/ca.crt")
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w 0 "$pki/$1.crt")
    client-key-data: $(base64 -w 0 "$pki/$1.key")
contexts:
- name: mbcas-local
  context: {cluster: mbcas-local, user: $1}
current-context: mbcas-local
YAML
    mv "$2.new" "$2"
  )
}
