//! A cluster as a large platform team has it, written down object by object as it is asked for.
//!
//! Nothing of it is held but a counter per pod: pod `i` is always the same text until it changes.
//!
//! | of the 30 pods of a node | number |
//! | --- | ---: |
//! | of DaemonSets, two containers each, nobody's participants | 8 |
//! | participants: Deployments in labelled namespaces, one container and the agent | 10 |
//! | of Deployments in other namespaces, two containers each | 12 |
//!
//! Deployments have 1, 2, 3, 5, 10, 20 or 30 pods, as many of each size: 10 on average.

use serde_json::{Value, json};

/// Pods on one node.
pub(crate) const PER_NODE: usize = 30;
const DAEMONS: usize = 8;
const PARTICIPANTS: usize = 10;
/// The sizes of Deployments, in turns.
const SIZES: [usize; 7] = [1, 2, 3, 5, 10, 20, 30];
/// How many Deployments are in one namespace.
const PER_NAMESPACE: usize = 20;
const TEAMS: [&str; 10] = [
    "checkout",
    "search",
    "payments",
    "identity",
    "catalogue",
    "shipping",
    "pricing",
    "reviews",
    "messaging",
    "analytics",
];
const TIERS: [&str; 10] = [
    "api",
    "worker",
    "gateway",
    "frontend",
    "scheduler",
    "importer",
    "reconciler",
    "cache-warmer",
    "event-consumer",
    "reporting-backend",
];

/// The whole cluster.
pub(crate) struct Fleet {
    /// How often each pod was changed, and how often it was replaced.
    pods: Vec<(u16, u16)>,
}

/// One pod's place in the cluster.
struct Place {
    node: usize,
    kind: Kind,
    namespace: String,
    workload: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Daemon,
    Participant,
    Stranger,
}

/// A well spread number for each `seed` (splitmix64).
pub(crate) fn spread(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number below `bound` for each `seed`.
pub(crate) fn below(seed: u64, bound: usize) -> usize {
    let bound = u64::try_from(bound).unwrap_or(u64::MAX);
    usize::try_from(spread(seed) % bound).unwrap_or_default()
}

/// So many characters as Kubernetes makes them for names.
fn suffix(seed: u64, length: u64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let letter = |place| char::from(LETTERS[below(seed ^ (place << 56), LETTERS.len())]);
    (0..length).map(letter).collect()
}

/// A UUID of version 4.
fn uuid(seed: u64) -> String {
    let (high, low) = (spread(seed), spread(seed ^ 0xdead_beef));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 50),
        low & 0xffff_ffff_ffff,
    )
}

/// Deployment and namespace of the `place`th pod of a kind.
fn deployment(kind: Kind, place: usize) -> (String, String) {
    let round: usize = SIZES.iter().sum();
    let (turn, mut rest) = (place / round, place % round);
    let mut number = turn * SIZES.len();
    for size in SIZES {
        if rest < size {
            break;
        }
        rest -= size;
        number += 1;
    }
    let (team, tier) = (TEAMS[number % 10], TIERS[number / 10 % 10]);
    let prefix = if kind == Kind::Participant {
        "market"
    } else {
        "plain"
    };
    let namespace = format!("{prefix}-{team}-{}", number / PER_NAMESPACE);
    (namespace, format!("{team}-{tier}-{number}"))
}

impl Fleet {
    /// A cluster of `pods` pods.
    pub(crate) fn new(pods: usize) -> Self {
        Self {
            pods: vec![(0, 0); pods],
        }
    }

    /// How many pods there are.
    pub(crate) fn pods(&self) -> usize {
        self.pods.len()
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> usize {
        self.pods.len().div_ceil(PER_NODE)
    }

    /// Changes pod `number` as a resize does.
    pub(crate) fn change(&mut self, number: usize) {
        self.pods[number].0 += 1;
    }

    /// Puts another pod in the place of pod `number`.
    pub(crate) fn replace(&mut self, number: usize) {
        self.pods[number] = (0, self.pods[number].1 + 1);
    }

    /// The labelled namespaces.
    pub(crate) fn labelled(&self) -> Vec<String> {
        let participants = (0..self.pods()).filter(|i| i % PER_NODE >= DAEMONS);
        let participants = participants.filter(|i| i % PER_NODE < DAEMONS + PARTICIPANTS);
        let mut names: Vec<_> = participants.map(|i| place(i).namespace).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The text of pod `number`, at `version`.
    pub(crate) fn pod(&self, number: usize, version: u64) -> String {
        let (changes, incarnation) = self.pods[number];
        let seed = ((number as u64) << 24) | u64::from(incarnation);
        Writing {
            place: place(number),
            seed,
            changes: u64::from(changes),
            version,
        }
        .pod(number)
    }
}

fn place(number: usize) -> Place {
    let (node, slot) = (number / PER_NODE, number % PER_NODE);
    let (kind, namespace, workload) = if slot < DAEMONS {
        let names = [
            "cni-agent",
            "csi-node",
            "node-exporter",
            "log-shipper",
            "kube-proxy",
            "dns-cache",
            "gpu-probe",
            "audit",
        ];
        (
            Kind::Daemon,
            "platform-system".to_owned(),
            names[slot].to_owned(),
        )
    } else if slot < DAEMONS + PARTICIPANTS {
        let (namespace, workload) =
            deployment(Kind::Participant, node * PARTICIPANTS + slot - DAEMONS);
        (Kind::Participant, namespace, workload)
    } else {
        let strangers = PER_NODE - DAEMONS - PARTICIPANTS;
        let (namespace, workload) = deployment(
            Kind::Stranger,
            node * strangers + slot - DAEMONS - PARTICIPANTS,
        );
        (Kind::Stranger, namespace, workload)
    };
    Place {
        node,
        kind,
        namespace,
        workload,
    }
}

/// Everything that a pod's text is made from.
struct Writing {
    place: Place,
    seed: u64,
    changes: u64,
    version: u64,
}

impl Writing {
    /// The limit of its first container: every participant has been resized to another.
    fn limit(&self) -> String {
        if self.place.kind == Kind::Participant {
            format!("{}m", 250 + 10 * below(self.seed ^ self.changes << 48, 376))
        } else {
            "1".to_owned()
        }
    }

    fn pod(&self, number: usize) -> String {
        let Place {
            node,
            kind,
            namespace,
            workload,
        } = &self.place;
        let hash = suffix(
            spread(workload.len() as u64) ^ spread(workload.bytes().map(u64::from).sum()),
            10,
        );
        let (owner, owner_kind) = match kind {
            Kind::Daemon => (workload.clone(), "DaemonSet"),
            _ => (format!("{workload}-{hash}"), "ReplicaSet"),
        };
        let name = format!("{owner}-{}", suffix(self.seed, 5));
        let is_participant = *kind == Kind::Participant;
        let mut annotations = json!({"kubectl.kubernetes.io/restartedAt": "2026-11-02T10:11:12Z", "prometheus.io/scrape": "true", "prometheus.io/port": "9090"});
        if is_participant {
            annotations["mbcas.budget"] = json!(["100", "200", "300"][workload.len() % 3]);
            annotations["mbcas.maxCPU"] = json!("4");
            annotations["mbcas.dev/original"] = json!(
                r#"{"version":1,"participant":"app","containers":{"app":{"request":"250m","limit":"1"}}}"#
            );
        }
        let limit = self.limit();
        let app = resources("250m", &limit);
        let mut containers = vec![container("app", workload, &app)];
        let mut statuses = vec![status("app", workload, &app, self.seed)];
        let mut init = Vec::new();
        if is_participant {
            let agent = resources("10m", "200m");
            let mut sidecar = container("mbcas-demand-agent", "mbcas-demand-agent", &agent);
            sidecar["restartPolicy"] = json!("Always");
            init.push(sidecar);
        } else {
            let proxy = resources("100m", "500m");
            containers.push(container("istio-proxy", "proxyv2", &proxy));
            statuses.push(status("istio-proxy", "proxyv2", &proxy, self.seed));
        }
        let version = self.version.to_string();
        let uid = uuid(self.seed ^ 0x0005_eed0_0000_0000);
        // Every address is this machine's own, so that whoever asks there is refused at once.
        let address = format!(
            "127.{}.{}.{}",
            64 + (number >> 16),
            (number >> 8) & 255,
            number & 255
        );
        let pod = json!({
            "metadata": {
                "name": name, "generateName": format!("{owner}-"), "namespace": namespace, "uid": uid, "resourceVersion": version,
                "generation": 1 + self.changes, "creationTimestamp": "2026-11-20T08:00:00Z",
                "labels": {"app.kubernetes.io/name": workload, "app.kubernetes.io/part-of": namespace, "app.kubernetes.io/managed-by": "Helm",
                           "app.kubernetes.io/version": "4.18.2", "pod-template-hash": hash, "team": namespace, "topology.kubernetes.io/region": "eu-central-1"},
                "annotations": annotations,
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": owner_kind, "name": owner, "uid": uuid(workload.len() as u64), "controller": true, "blockOwnerDeletion": true}],
            },
            "spec": {
                "containers": containers, "initContainers": init,
                "volumes": [
                    {"name": "kube-api-access-x7x9z", "projected": {"defaultMode": 420, "sources": [
                        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]}},
                    {"name": "config", "configMap": {"name": format!("{workload}-config"), "defaultMode": 420}},
                    {"name": "tmp", "emptyDir": {}}],
                "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
                "serviceAccountName": workload, "serviceAccount": workload, "nodeName": node_name(*node), "securityContext": {"runAsNonRoot": true, "fsGroup": 65532},
                "schedulerName": "default-scheduler", "priority": 1000, "priorityClassName": "business-standard", "enableServiceLinks": true,
                "preemptionPolicy": "PreemptLowerPriority", "hostNetwork": *kind == Kind::Daemon,
                "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": {
                    "labelSelector": {"matchLabels": {"app.kubernetes.io/name": workload}}, "topologyKey": "kubernetes.io/hostname"}}]}},
                "tolerations": [
                    {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
            },
            "status": {
                "phase": "Running", "qosClass": "Burstable", "hostIP": node_address(*node), "hostIPs": [{"ip": node_address(*node)}],
                "podIP": address, "podIPs": [{"ip": address}], "startTime": "2026-11-20T08:00:00Z",
                "conditions": conditions(),
                "containerStatuses": statuses,
            },
        });
        // A third of what an API server sends of a pod is this; as text, as it is always the same.
        pod.to_string().replacen(
            r#""metadata":{"#,
            concat!(
                r#""metadata":{"managedFields":"#,
                include_str!("managed-fields.json"),
                ","
            ),
            1,
        )
    }
}

fn conditions() -> Value {
    let kinds = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ];
    let conditions = kinds.map(|kind| {
        json!({"type": kind, "status": "True", "observedGeneration": 1, "lastProbeTime": null, "lastTransitionTime": "2026-11-20T08:00:03Z"})
    });
    json!(conditions)
}

fn resources(request: &str, limit: &str) -> Value {
    json!({"requests": {"cpu": request, "memory": "256Mi"}, "limits": {"cpu": limit, "memory": "512Mi"}})
}

fn container(name: &str, image: &str, resources: &Value) -> Value {
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": "http", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3});
    json!({
        "name": name, "image": format!("registry.example.com/platform/{image}:4.18.2"), "imagePullPolicy": "IfNotPresent", "resources": resources,
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
            {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": format!("{image}-database"), "key": "url"}}},
            {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://otel-collector.observability.svc:4317"},
            {"name": "LOG_LEVEL", "value": "info"}],
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/app", "readOnly": true}, {"name": "tmp", "mountPath": "/tmp"},
            {"name": "kube-api-access-x7x9z", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}],
        "livenessProbe": probe("/healthz"), "readinessProbe": probe("/readyz"),
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}, {"resourceName": "memory", "restartPolicy": "NotRequired"}],
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
    })
}

fn status(name: &str, image: &str, resources: &Value, seed: u64) -> Value {
    let (high, low) = (spread(seed ^ 1), spread(seed ^ 2));
    let digest = format!("{high:016x}{low:016x}{low:016x}{high:016x}");
    let at = 1_795_161_600 + i64::try_from(seed >> 24).unwrap_or_default() % 86_400;
    let at = jiff::Timestamp::from_second(at).map(|at| at.to_string());
    json!({
        "name": name, "image": format!("registry.example.com/platform/{image}:4.18.2"), "imageID": format!("registry.example.com/platform/{image}@sha256:{digest}"),
        "containerID": format!("containerd://{digest}"), "ready": true, "started": true, "restartCount": 0, "lastState": {},
        "state": {"running": {"startedAt": at.unwrap_or_default()}}, "resources": resources, "allocatedResources": resources["requests"],
    })
}

fn node_name(number: usize) -> String {
    format!(
        "ip-10-{}-{}-{}.eu-central-1.compute.internal",
        number / 65_536,
        number / 256 % 256,
        number % 256
    )
}

fn node_address(number: usize) -> String {
    format!(
        "127.{}.{}.{}",
        32 + number / 65_536,
        number / 256 % 256,
        number % 256
    )
}

/// The text of node `number`; its kubelet listens on `port`.
pub(crate) fn node(number: usize, port: u16, version: u64) -> String {
    let images: Vec<_> = (0..40_u64).map(|image| {
        let digest = spread(image);
        json!({"names": [format!("registry.example.com/platform/image-{image}@sha256:{digest:016x}{digest:016x}{digest:016x}{digest:016x}"), format!("registry.example.com/platform/image-{image}:4.18.2")], "sizeBytes": 104_857_600})
    }).collect();
    let amounts = |cpu: &str| json!({"cpu": cpu, "memory": "64Gi", "pods": "110", "ephemeral-storage": "200Gi"});
    json!({
        "metadata": {"name": node_name(number), "uid": uuid(number as u64 ^ 0x00de_0000), "resourceVersion": version.to_string(),
                     "labels": {"kubernetes.io/hostname": node_name(number), "kubernetes.io/os": "linux", "node.kubernetes.io/instance-type": "m7i.4xlarge"}},
        "spec": {"providerID": format!("aws:///eu-central-1a/i-{:016x}", spread(number as u64))},
        "status": {"capacity": amounts("16"), "allocatable": amounts("15500m"), "images": images,
                   "addresses": [{"type": "InternalIP", "address": node_address(number)}, {"type": "Hostname", "address": node_name(number)}],
                   "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
                   "nodeInfo": {"architecture": "amd64", "bootID": uuid(1), "containerRuntimeVersion": "containerd://2.2.0", "kernelVersion": "6.12.0", "kubeProxyVersion": "", "kubeletVersion": "v1.37.2",
                                "machineID": "m", "operatingSystem": "linux", "osImage": "Linux", "systemUUID": uuid(2)},
                   "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status", "lastHeartbeatTime": "2026-11-28T08:00:00Z", "lastTransitionTime": "2026-11-20T08:00:00Z"}]},
    }).to_string()
}
