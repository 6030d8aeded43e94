use std::sync::Arc;

use mbcas_api::names::AGENT_CONTAINER;
use serde_json::{Value, json};

use super::*;
use crate::cluster::{NamespaceView, NodeView, pod_view};

fn pod(namespace: &str, name: &str, annotations: &Value, host_network: bool) -> PodView {
    let resources = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "2"}});
    let mut all = json!({"mbcas.dev/original": r#"{"version":1,"containers":{}}"#});
    all.as_object_mut()
        .unwrap()
        .extend(annotations.as_object().unwrap().clone());
    let agent = json!({"name": AGENT_CONTAINER, "restartPolicy": "Always", "resources": {"requests": {"cpu": "10m"}}});
    let pod = json!({
        "metadata": {"namespace": namespace, "name": name, "uid": name, "annotations": all},
        "spec": {"nodeName": "n1", "hostNetwork": host_network,
                 "containers": [{"name": "app", "resources": resources}], "initContainers": [agent]},
        "status": {"phase": "Running", "qosClass": "Burstable", "podIP": "100.65.0.9", "containerStatuses": [
            {"name": "app", "image": "i", "imageID": "i", "ready": true, "restartCount": 0,
             "state": {"running": {}}, "resources": resources}]},
    });
    pod_view(&serde_json::from_value(pod).unwrap()).unwrap()
}

fn view(pods: Vec<PodView>) -> View {
    let node = NodeView {
        name: "n1".into(),
        allocatable: MilliCpu::new(2_000),
        cores: MilliCpu::new(2_000),
        kubelet: None,
        is_opted_out: false,
    };
    View {
        pods: pods.into_iter().collect(),
        nodes: BTreeMap::from([("n1".into(), node)]),
        namespaces: BTreeMap::from([("shop".into(), NamespaceView::default())]),
        ..View::default()
    }
}

const TERMS: Terms = Terms {
    default_max: MilliCpu::new(64_000),
    reserve: MilliCpu::ZERO,
    curve: None,
    startup_grace: Duration::from_secs(30),
};

fn moment() -> Moment {
    Moment {
        zero: Instant::now(),
        wall: Timestamp::UNIX_EPOCH,
    }
}

#[test]
fn who_takes_part_and_why_others_do_not() {
    let view = view(vec![
        pod("shop", "in", &json!({"mbcas.budget": "300"}), false),
        pod("shop", "out", &json!({"mbcas.enabled": "false"}), false),
        pod("shop", "broken", &json!({"mbcas.budget": "lots"}), false),
        pod(
            "elsewhere",
            "other",
            &json!({"mbcas.enabled": "true"}),
            false,
        ),
    ]);
    let discovery = discover(&view, &mut Ids::default());
    let names: Vec<_> = discovery
        .participants
        .keys()
        .map(|id| id.pod.name.as_str())
        .collect();
    assert_eq!(names, ["in"]);
    assert_eq!(
        discovery.left_out,
        BTreeMap::from([("malformed", 1), ("opted_out", 1)])
    );
}

#[test]
fn everybody_else_on_the_node_counts_against_its_capacity() {
    let view = view(vec![
        pod("shop", "in", &json!({}), false),
        pod("elsewhere", "other", &json!({}), false),
    ]);
    let discovery = discover(&view, &mut Ids::default());
    let usage = BTreeMap::from([(
        Arc::new(("elsewhere".into(), "other".into(), "app".into())),
        Used {
            cpu: MilliCpu::new(700),
            seen: Instant::now(),
        },
    )]);
    let snapshots = snapshots(&view, &discovery, &BTreeMap::new(), &usage, TERMS, moment());
    assert_eq!(snapshots.len(), 1);
    let others = snapshots[0].non_participants.iter();
    let mut others: Vec<_> = others
        .map(|o| (o.request.get(), o.usage.map(MilliCpu::get)))
        .collect();
    others.sort_unstable();
    // The participant's own sidecar is one of them.
    assert_eq!(others, [(10, None), (10, None), (100, Some(700))]);
}

#[test]
fn a_pod_in_its_nodes_network_is_not_asked() {
    let view = view(vec![
        pod("shop", "host", &json!({}), true),
        pod("shop", "plain", &json!({}), false),
    ]);
    let discovery = discover(&view, &mut Ids::default());
    let asked: Vec<_> = discovery
        .participants
        .values()
        .map(|found| found.agent.is_some())
        .collect();
    assert_eq!(asked, [false, true]);
}

#[test]
fn a_namespaces_policy_holds_for_pods_that_are_older_than_it() {
    let annotations = json!({"mbcas.budget": "900", "mbcas.minCPU": "50m", "mbcas.maxCPU": "8"});
    let mut view = view(vec![
        pod("shop", "says", &annotations, false),
        pod("shop", "silent", &json!({}), false),
    ]);
    let spec = json!({"budget": {"default": 40, "max": 600}, "cpu": {"minPerPod": "200m", "maxPerPod": "1"}});
    let policy = json!({"apiVersion": "mbcas.dev/v1alpha1", "kind": "BudgetPolicy",
                        "metadata": {"name": "default", "namespace": "shop"}, "spec": spec});
    let policy = PolicyView::of(&serde_json::from_value(policy).unwrap());
    let of = |view: &View| {
        let found = discover(view, &mut Ids::default());
        let none = BTreeMap::new();
        let nodes = snapshots(view, &found, &none, &BTreeMap::new(), TERMS, moment());
        let seen = nodes[0].participants.values();
        let seen = seen.map(|o| {
            (
                o.budget.thousandths() / 1_000,
                o.floor().get(),
                o.max_cpu.unwrap().get(),
            )
        });
        seen.collect::<Vec<_>>()
    };
    assert_eq!(of(&view), [(900, 100, 8_000), (100, 100, 64_000)]);
    view.policies.insert("shop".into(), policy);
    assert_eq!(of(&view), [(600, 200, 1_000), (40, 200, 1_000)]);
}

#[test]
fn a_container_is_starting_until_its_grace_ends() {
    let now = Timestamp::from_second(1_000).unwrap();
    let starting = |second| {
        let started = Some(Timestamp::from_second(second).unwrap());
        is_starting(started, Duration::from_secs(30), now)
    };
    assert_eq!(
        [970, 971, 1_000, 1_060, 1_061].map(starting),
        [false, true, true, true, false]
    );
    assert!(!is_starting(None, Duration::from_secs(30), now));
}
