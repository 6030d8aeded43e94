use serde_json::{Value, json};

use super::*;
use crate::cluster::pod_view;
use crate::discover::discover;
use crate::ids::Ids;

fn vertical(spec: &Value) -> Option<VerticalView> {
    let object = json!({"apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscaler",
                        "metadata": {"name": "v", "namespace": "shop", "uid": "v"}, "spec": spec});
    let object: VerticalPodAutoscaler = serde_json::from_value(object).unwrap();
    let mut view = View::default();
    object.keep(&mut view);
    view.vertical.into_values().next()
}

fn target(kind: &str, name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": kind, "name": name})
}

#[test]
fn a_vertical_autoscaler_acts_unless_it_says_that_it_leaves_running_pods_alone() {
    let with = |mode: Value| {
        vertical(
            &json!({"targetRef": target("Deployment", "web"), "updatePolicy": {"updateMode": mode}}),
        )
    };
    for mode in [
        "Recreate",
        "Auto",
        "InPlaceOrRecreate",
        "InPlace",
        "OfTomorrow",
    ] {
        assert!(with(json!(mode)).is_some(), "{mode}");
    }
    for mode in ["Off", "Initial"] {
        assert!(with(json!(mode)).is_none(), "{mode}");
    }
    assert!(vertical(&json!({"targetRef": target("Deployment", "web")})).is_some());
    assert!(vertical(&json!({})).is_none());
}

#[test]
fn it_acts_on_the_cpu_of_those_containers_for_which_it_does_not_say_otherwise() {
    let acts = |policies: Value, container: &str| {
        let spec = json!({"targetRef": target("Deployment", "web"), "resourcePolicy": {"containerPolicies": policies}});
        vertical(&spec).unwrap().sets_cpu_of(container)
    };
    assert!(acts(json!([]), "app"));
    let memory = json!([{"containerName": "*", "controlledResources": ["memory"]}, {"containerName": "log"}]);
    assert!(!acts(memory.clone(), "app"));
    assert!(acts(memory, "log"));
    assert!(!acts(
        json!([{"containerName": "app", "mode": "Off"}]),
        "app"
    ));
    assert!(acts(
        json!([{"containerName": "app", "controlledResources": ["cpu"]}]),
        "app"
    ));
}

fn horizontal(metrics: &Value) -> Option<HorizontalView> {
    let object = json!({"metadata": {"name": "h", "namespace": "shop", "uid": "h"},
                        "spec": {"maxReplicas": 3, "scaleTargetRef": target("Deployment", "web"), "metrics": metrics}});
    let object: HorizontalPodAutoscaler = serde_json::from_value(object).unwrap();
    let mut view = View::default();
    object.keep(&mut view);
    view.horizontal.into_values().next()
}

#[test]
fn a_horizontal_autoscaler_is_of_interest_where_it_scales_on_cpu() {
    let metric = |kind: &str, source: &str, name: &str| {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        json!([{"type": kind, source: {"name": name, "container": "app", "target": target}}])
    };
    assert!(horizontal(&metric("Resource", "resource", "cpu")).is_some());
    assert!(horizontal(&metric("ContainerResource", "containerResource", "cpu")).is_some());
    assert!(horizontal(&metric("Resource", "resource", "memory")).is_none());
    assert!(horizontal(&json!([])).is_some());
}

/// A participant of `shop` that a ReplicaSet of Deployment `made_by` made.
fn participant(name: &str, made_by: &str) -> Value {
    let resources = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "2"}});
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{made_by}-1a"), "uid": "r", "controller": true});
    json!({
        "metadata": {"namespace": "shop", "name": name, "uid": name, "labels": {"pod-template-hash": "1a"}, "ownerReferences": [owner],
                     "annotations": {"mbcas.dev/original": r#"{"version":1,"containers":{}}"#}},
        "spec": {"nodeName": "n1", "containers": [{"name": "app", "resources": resources}]},
        "status": {"phase": "Running", "qosClass": "Burstable", "containerStatuses": [
            {"name": "app", "image": "i", "imageID": "i", "ready": true, "restartCount": 0, "state": {"running": {}}, "resources": resources}]},
    })
}

#[test]
fn participants_are_found_by_what_made_them() {
    let mut view = View::default();
    for (name, made_by) in [("a", "web"), ("b", "web"), ("c", "api")] {
        let pod = pod_view(&serde_json::from_value(participant(name, made_by)).unwrap()).unwrap();
        view.pods.insert(pod);
    }
    view.namespaces
        .insert("shop".into(), crate::cluster::NamespaceView::default());
    let mut vertical = vertical(&json!({"targetRef": target("Deployment", "web")})).unwrap();
    view.vertical
        .insert(("elsewhere".into(), "v".into()), vertical.clone());
    view.horizontal
        .insert(("shop".into(), "h".into()), horizontal(&json!([])).unwrap());
    let found = encounters(&view, &discover(&view, &mut Ids::default()));
    assert!(found.vertical.is_empty());
    let names =
        |ids: &BTreeSet<ContainerId>| ids.iter().map(|id| id.pod.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found.horizontal), ["a", "b"]);
    vertical.target.name = "api".into();
    view.vertical.insert(("shop".into(), "v".into()), vertical);
    let found = encounters(&view, &discover(&view, &mut Ids::default()));
    assert_eq!(names(&found.vertical), ["c"]);
    let met: Vec<_> = found
        .met
        .iter()
        .map(|met| (met.kind, met.name.as_str()))
        .collect();
    assert_eq!(met, [(MetKind::Horizontal, "h"), (MetKind::Vertical, "v")]);
}
