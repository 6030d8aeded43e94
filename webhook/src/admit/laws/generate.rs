//! Pods and namespaces of every shape that a decision may depend on.

use mbcas_api::names::{AGENT_CONTAINER, INJECTION_ANNOTATION, ORIGINAL_ANNOTATION};
use mbcas_core::annotations::BUDGET;
use mbcas_core::units::MilliCpu;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use crate::namespace::{Held, Namespace, Rules};

fn cpu() -> impl Strategy<Value = String> {
    prop_oneof![
        (1u64..5000).prop_map(|m| format!("{m}m")),
        (1u64..100).prop_map(|c| c.to_string()),
        Just("0".to_owned())
    ]
}

fn resources() -> impl Strategy<Value = Value> {
    let list = || {
        (
            option::of(cpu()),
            option::of(prop_oneof![Just("64Mi"), Just("1Gi")]),
        )
            .prop_map(|(cpu, memory)| {
                let mut list = serde_json::Map::new();
                list.extend(cpu.map(|cpu| ("cpu".to_owned(), json!(cpu))));
                list.extend(memory.map(|memory| ("memory".to_owned(), json!(memory))));
                Value::Object(list)
            })
    };
    prop_oneof![
        1 => Just(Value::Null),
        1 => Just(json!({})),
        3 => list().prop_map(|list| json!({"requests": list})),
        2 => list().prop_map(|list| json!({"requests": list.clone(), "limits": list})),
        3 => (list(), list()).prop_map(|(requests, limits)| json!({"requests": requests, "limits": limits})),
    ]
}

/// What Pod Security *restricted* asks of each container.
fn confine(container: &mut Value) {
    container["securityContext"] =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
}

fn container(index: usize) -> BoxedStrategy<Value> {
    let port = option::weighted(0.1, Just(9465));
    (resources(), port, any::<bool>(), 0..20)
        .prop_map(move |(resources, port, restarts, clash)| {
            let name = if clash == 0 && index == 1 {
                AGENT_CONTAINER.to_owned()
            } else {
                format!("c{index}")
            };
            let mut container =
                json!({"name": name, "image": "i", "futureField": {"x": [1, null]}});
            if !resources.is_null() {
                container["resources"] = resources;
            }
            if let Some(port) = port {
                container["ports"] = json!([{"containerPort": port}]);
            }
            if restarts && index == 1 {
                container["resizePolicy"] =
                    json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
            }
            container
        })
        .boxed()
}

fn annotations() -> impl Strategy<Value = Value> {
    let entry = prop_oneof![
        Just(("mbcas.enabled", "true")),
        Just(("mbcas.enabled", "false")),
        Just(("mbcas.maxCPU", "4999m")),
        Just(("mbcas.maxCPU", "100")),
        Just(("mbcas.maxCPU", "60m")),
        Just(("mbcas.agent", "none")),
        Just(("mbcas.metrics", "http://localhost:80/m#q")),
        Just(("mbcas.processes", "shared")),
        Just(("mbcas.processes", "own")),
        Just(("mbcas.container", "c1")),
        Just((
            ORIGINAL_ANNOTATION,
            r#"{"version":1,"containers":{"c0":{}}}"#
        )),
        Just((INJECTION_ANNOTATION, "injected")),
        Just(("mbcas.dev/~1", "x")),
        Just(("some.one/else", "y")),
        Just((crate::mesh::ISTIO_PORTS, "80,443")),
        Just((crate::mesh::LINKERD_PORTS, "")),
        Just(("mbcas.minCPU", "60m")),
        Just(("mbcas.mode", "auto")),
        Just((BUDGET, "700")),
        Just((BUDGET, "lots")),
    ];
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Value::Null)),
        8 => proptest::collection::vec(entry, 0..4).prop_map(|entries| {
            Some(entries.into_iter().map(|(k, v)| (k.to_owned(), json!(v))).collect::<serde_json::Map<_, _>>().into())
        }),
    ]
    .prop_map(|annotations| annotations.unwrap_or_else(|| json!("absent")))
}

/// What a pod says of its processes: that they are the node's, and whether they are shared.
fn processes() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
    let of_host = option::weighted(0.2, any::<bool>().prop_map(Value::from));
    let shared = prop_oneof![any::<bool>().prop_map(Value::from), Just(Value::Null)];
    (of_host, option::weighted(0.4, shared)).prop_map(|(of_host, shared)| {
        let fields = [("hostPID", of_host), ("shareProcessNamespace", shared)];
        let present = fields.into_iter();
        present
            .filter_map(|(field, value)| Some((field, value?)))
            .collect()
    })
}

/// A pod. Boxed, as its generator would fill a test's stack.
pub(super) fn any_pod() -> BoxedStrategy<Value> {
    let containers = (container(0), option::of(container(1)))
        .prop_map(|(first, second)| std::iter::once(first).chain(second).collect::<Vec<_>>());
    let inits = option::of(proptest::collection::vec(container(2), 0..2));
    let volumes = option::of(prop_oneof![
        Just(json!([])),
        Just(json!([{"name": "v", "emptyDir": {}}])),
        Just(json!([{"name": "v", "hostPath": {"path": "/"}}])),
        Just(Value::Null)
    ]);
    (annotations(), containers, inits, volumes, any::<[bool; 2]>(), 0..8, processes()).prop_map(|(annotations, containers, inits, volumes, [owned, confined], odd, processes)| {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": containers, "unknownToUs": [{}]}, "x": 1});
        if annotations != "absent" {
            pod["metadata"]["annotations"] = annotations;
        }
        if let Some(inits) = inits {
            pod["spec"]["initContainers"] = json!(inits);
        }
        if let Some(volumes) = volumes {
            pod["spec"]["volumes"] = volumes;
        }
        if owned {
            pod["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true}]);
        }
        match odd {
            0 => pod["spec"]["hostNetwork"] = json!(true),
            1 => pod["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "windows"}),
            2 => pod["spec"]["resources"] = json!({"requests": {"cpu": "1"}}),
            3 => pod["spec"]["nodeSelector"] = json!({"type": "virtual-kubelet"}),
            _ => {}
        }
        for (field, value) in processes {
            pod["spec"][field] = value;
        }
        if confined {
            pod["spec"]["securityContext"] =
                json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
            for list in ["initContainers", "containers"] {
                let containers = pod["spec"][list].as_array_mut();
                containers.into_iter().flatten().for_each(confine);
            }
        }
        pod
    })
    .boxed()
}

/// Half of the namespaces have no rules.
pub(super) fn any_namespace() -> BoxedStrategy<Namespace> {
    prop_oneof![Just(Namespace::default()), ruled()].boxed()
}

/// A namespace with rules, each of which may be absent.
fn ruled() -> impl Strategy<Value = Namespace> {
    let rules = vec![
        ("budget", json!({"default": 200, "min": 50, "max": 500})),
        ("budget", json!({"total": 1_000})),
        (
            "cpu",
            json!({"minPerPod": "50m", "maxPerPod": "4", "floorTotal": "3"}),
        ),
        ("defaults", json!({"cpuRequest": "70m"})),
        ("mode", json!("recommend")),
        ("agent", json!("None")),
        ("optOut", json!("Deny")),
        ("onExceed", json!("Clamp")),
    ];
    let policy = subsequence(rules, 0..=4).prop_map(|rules| {
        let spec: serde_json::Map<_, _> = rules
            .into_iter()
            .map(|(key, rule)| (key.to_owned(), rule))
            .collect();
        json!({"kind": "BudgetPolicy", "metadata": {"name": "default"}, "spec": spec})
    });
    let limits = select(vec![
        json!([]),
        json!([{"type": "Container", "max": {"cpu": "90m"}}]),
        json!([{"type": "Container", "max": {"cpu": "5m"}}]),
        json!([{"type": "Pod", "max": {"memory": "1Gi"}}]),
    ]);
    let hard = select(vec![
        json!({}),
        json!({"limits.cpu": "1"}),
        json!({"requests.memory": "70Mi"}),
        json!({"pods": "1"}),
    ]);
    let held = select(vec![(0, 0), (9, 900), (10, 1_000)]);
    (policy, limits, hard, held).prop_map(|(policy, limits, hard, (pods, budget))| {
        let objects = [
            policy,
            json!({"kind": "LimitRange", "spec": {"limits": limits}}),
            json!({"kind": "ResourceQuota", "spec": {"hard": hard}}),
        ];
        Namespace {
            name: "shop".to_owned(),
            rules: Rules::of(&objects).unwrap().into(),
            held: Held {
                pods,
                budget,
                floors: MilliCpu::new(pods * 250),
            },
        }
    })
}
