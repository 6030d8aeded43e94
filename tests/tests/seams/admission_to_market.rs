//! What the webhook admits, the loop can read: a pod goes through admission,
//! is made a running one as a kubelet would, and is then judged by the question
//! that the controller asks.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use mbcas_api::names::AGENT_CONTAINER;
use mbcas_api::qos::Qos;
use mbcas_api::{NotParticipant, Original, Participation};
use mbcas_core::annotations::Settings;
use mbcas_webhook::{AgentSpec, Decision, Policy, Verdict, admit};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

fn policy() -> Policy {
    let agent = AgentSpec::usual("registry.example.org/mbcas-demand-agent:1");
    Policy::new(agent, "64").unwrap()
}

/// Good and bad values of every key, good ones more often.
fn annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
    let of_key = |key: &'static str, values: &'static [&'static str]| {
        of(select(values))
            .prop_map(move |value| Some((key.to_owned(), value?.to_owned())))
            .boxed()
    };
    let keys = vec![
        of_key("mbcas.enabled", &["true", "true", "false", "yes"]),
        of_key(
            "mbcas.budget",
            &["1", "300", "1000000", "300", "600", "lots"],
        ),
        of_key("mbcas.minCPU", &["10m", "0.05", "100m", "250m", "1", "1m"]),
        of_key("mbcas.maxCPU", &["150m", "0.5", "2", "1500m", "64", "half"]),
        of_key("mbcas.container", &["app", "app", "helper", "gone"]),
        of_key("mbcas.mode", &["observe", "recommend", "auto", "fast"]),
        of_key("mbcas.agent", &["sidecar", "none", "none", "no"]),
        of_key(
            "mbcas.metrics",
            &[
                "http://localhost:8080/metrics#queue",
                "http://localhost:8080/stats#queue=/jobs&latency=/p99",
                "http://localhost/",
            ],
        ),
        // Seldom: without a latency in the line above it is refused.
        prop::option::weighted(0.2, select(&["250ms", "2s", "soon"][..]))
            .prop_map(|slo| Some(("mbcas.slo".to_owned(), slo?.to_owned())))
            .boxed(),
        of_key("mbcas.processes", &["own", "shared", "shared", "host"]),
        of_key(
            "mbcas.dev/original",
            &["{\"version\":1,\"containers\":{}}", "forged"],
        ),
        of_key(
            "kubectl.kubernetes.io/default-container",
            &["app", "helper", "gone"],
        ),
        prop::option::weighted(0.05, Just(("mbcas.colour".to_owned(), "red".to_owned()))).boxed(),
    ];
    keys.prop_map(|keys| keys.into_iter().flatten().collect())
}

fn resources() -> impl Strategy<Value = Value> {
    // A limit below the request never comes to us: the API server refuses it.
    const CPU: [&str; 3] = ["100m", "0.25", "1"];
    let memory = || of(Just("64Mi"));
    let cpu = (of(0..CPU.len()), of(0..CPU.len()));
    (cpu, memory(), memory()).prop_map(|((request, limit), least, most)| {
        let limit = limit.map(|at| CPU[at.max(request.unwrap_or(0))]);
        let request = request.map(|at| CPU[at]);
        let list = |cpu: Option<&str>, memory: Option<&str>| {
            let pairs = [("cpu", cpu), ("memory", memory)];
            let present = pairs
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), json!(value?))));
            Value::Object(present.collect())
        };
        json!({"requests": list(request, least), "limits": list(limit, most)})
    })
}

fn pod() -> impl Strategy<Value = Value> {
    let policies = select(&["NotRequired", "RestartContainer"][..]);
    let container = (resources(), of(policies));
    let parts = (
        annotations(),
        container,
        resources(),
        any::<bool>(),
        prop::bool::weighted(0.1),
    );
    parts.prop_map(|(annotations, (app, resize), helper, owned, host)| {
        let policy = resize.map(|policy| json!([{"resourceName": "cpu", "restartPolicy": policy}]));
        let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": true}]);
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "namespace": "shop", "annotations": annotations, "ownerReferences": owned.then_some(owner)},
            "spec": {
                "hostNetwork": host,
                "containers": [
                    {"name": "app", "image": "app", "resources": app, "resizePolicy": policy},
                    {"name": "helper", "image": "helper", "resources": helper},
                ],
            },
        })
    })
}

/// The pod as it runs: patched, with the API server's default of a request
/// that equals a lone limit, and with a kubelet's status.
fn running(pod: &Value, verdict: &Verdict) -> Pod {
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &verdict.patch.operations().unwrap()).unwrap();
    for container in pod["spec"]["containers"].as_array_mut().unwrap() {
        let limits = container["resources"]["limits"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        for (name, limit) in limits {
            if container["resources"]["requests"].get(&name).is_none() {
                container["resources"]["requests"][&name] = limit;
            }
        }
    }
    let mut pod: Pod = serde_json::from_value(pod).unwrap();
    let spec = pod.spec.as_ref().unwrap();
    let statuses: Vec<_> = spec
        .containers
        .iter()
        .map(|container| {
            json!({
                "name": container.name, "ready": true, "restartCount": 0, "image": "i", "imageID": "i",
                "state": {"running": {}}, "resources": container.resources,
            })
        })
        .collect();
    let qos = format!("{:?}", Qos::of(spec));
    pod.status = Some(
        serde_json::from_value(
            json!({"phase": "Running", "qosClass": qos, "containerStatuses": statuses}),
        )
        .unwrap(),
    );
    pod
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_admission_lets_in_the_loop_reads_the_same_way(pod in pod()) {
        let verdict = admit(&pod, &policy(), &mbcas_webhook::Namespace::default()).unwrap();
        let running = running(&pod, &verdict);
        let judged = Participation::of(&running);
        match &verdict.decision {
            Decision::Deny(_, faults) => {
                prop_assert!(!faults.is_empty());
                let refused = matches!(judged, Err(NotParticipant::Malformed(_) | NotParticipant::NoSuchContainer(_)));
                // A cap below the request is a fault that only the container shows.
                let below = faults.iter().any(|fault| fault.contains("CPU request"));
                prop_assert!(refused || below || judged.is_err(), "refused for {faults:?}, yet {judged:?}");
            }
            Decision::Inject => {
                let found = judged.as_ref().map_err(|why| TestCaseError::fail(format!("injected, yet {why:?}")))?;
                prop_assert!(found.has_agent);
                agrees(&pod, &running, found)?;
            }
            Decision::Skip(reason) if reason.takes_part() => {
                let found = judged.as_ref().map_err(|why| TestCaseError::fail(format!("{reason:?}, yet {why:?}")))?;
                prop_assert!(!found.has_agent);
                agrees(&pod, &running, found)?;
            }
            Decision::Skip(reason) => {
                prop_assert!(judged.is_err(), "left alone for {reason:?}, yet {judged:?}");
            }
        }
    }
}

/// The loop reads what the user wrote, and the record holds what he wrote.
fn agrees(pod: &Value, running: &Pod, found: &Participation) -> Result<(), TestCaseError> {
    let written: BTreeMap<String, String> =
        serde_json::from_value(pod["metadata"]["annotations"].clone()).unwrap();
    prop_assert_eq!(&found.settings, &Settings::parse(&written).unwrap());
    let spec = running.spec.as_ref().unwrap();
    let sidecars: Vec<_> = spec
        .init_containers
        .iter()
        .flatten()
        .map(|c| c.name.as_str())
        .collect();
    prop_assert_eq!(sidecars.contains(&AGENT_CONTAINER), found.has_agent);
    prop_assert!(found.limit.is_none_or(|limit| limit >= found.request));

    let record = Original::on(running).unwrap().unwrap();
    for container in pod["spec"]["containers"].as_array().unwrap() {
        let recorded = &record.containers[container["name"].as_str().unwrap()];
        let own = |side: &str| {
            container["resources"][side]
                .get("cpu")
                .and_then(Value::as_str)
        };
        prop_assert_eq!(recorded.request.as_deref(), own("requests"));
        prop_assert_eq!(recorded.limit.as_deref(), own("limits"));
    }
    Ok(())
}
