use serde_json::json;

use super::*;
use crate::fixtures::{owner, plain, pod};

fn web() -> Workload {
    Workload {
        namespace: "shop".into(),
        kind: "Deployment".into(),
        name: "web".into(),
    }
}

fn hpa(metrics: &Value) -> Option<(Workload, Rival)> {
    let hpa = json!({
        "metadata": {"namespace": "shop", "name": "web-hpa"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 3, "metrics": metrics},
    });
    of_hpa(&serde_json::from_value(hpa).unwrap())
}

fn vpa(spec: &Value) -> Option<(Workload, Rival)> {
    let mut vpa = json!({
        "metadata": {"namespace": "shop", "name": "web-vpa"},
        "spec": {"targetRef": {"kind": "Deployment", "name": "web"}},
    });
    for (key, value) in spec.as_object().unwrap() {
        vpa["spec"][key] = value.clone();
    }
    of_vpa(&vpa)
}

#[test]
fn an_autoscaler_on_cpu_utilisation_forbids_moving_requests_and_is_told_of_otherwise() {
    let cpu = |kind: &str| json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": kind}}});
    let (workload, rival) = hpa(&json!([cpu("Utilization")])).unwrap();
    assert_eq!(workload, web());
    assert_eq!(rival.consequence(ResizePolicy::Limits), Consequence::Warn);
    assert_eq!(
        rival.consequence(ResizePolicy::Requests),
        Consequence::Leave
    );
    assert_eq!(rival.consequence(ResizePolicy::Both), Consequence::Leave);
    assert!(rival.to_string().contains("web-hpa"));
    // It is not usage over request that these look at.
    assert_eq!(hpa(&json!([cpu("AverageValue")])), None);
    let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization"}}});
    assert_eq!(hpa(&json!([memory])), None);
    let one = json!({"type": "ContainerResource",
        "containerResource": {"name": "cpu", "container": "app", "target": {"type": "Utilization"}}});
    assert!(hpa(&json!([memory, one])).is_some());
    assert!(hpa(&json!([])).is_some(), "its default is CPU utilisation");
}

#[test]
fn a_vertical_autoscaler_that_acts_forbids_everything() {
    for acting in [
        "Auto",
        "Recreate",
        "Initial",
        "InPlaceOrRecreate",
        "InPlace",
    ] {
        let (workload, rival) = vpa(&json!({"updatePolicy": {"updateMode": acting}})).unwrap();
        assert_eq!(workload, web());
        for policy in [
            ResizePolicy::Limits,
            ResizePolicy::Requests,
            ResizePolicy::Both,
        ] {
            assert_eq!(rival.consequence(policy), Consequence::Leave, "{acting}");
        }
    }
    assert!(vpa(&json!({})).is_some(), "without a mode it acts");
    assert_eq!(vpa(&json!({"updatePolicy": {"updateMode": "Off"}})), None);
}

#[test]
fn a_vertical_autoscaler_that_leaves_cpu_alone_is_none_of_ours() {
    let policies = |list: Value| vpa(&json!({"resourcePolicy": {"containerPolicies": list}}));
    assert_eq!(
        policies(json!([{"containerName": "*", "mode": "Off"}])),
        None
    );
    assert_eq!(
        policies(json!([{"containerName": "*", "controlledResources": ["memory"]}])),
        None
    );
    assert!(policies(json!([{"containerName": "*", "controlledResources": ["cpu"]}])).is_some());
    assert!(
        policies(json!([{"containerName": "*", "mode": "Off"}, {"containerName": "app"}]))
            .is_some()
    );
    assert!(policies(json!([{"containerName": "log", "mode": "Off"}])).is_some());
}

#[test]
fn a_boost_in_progress_is_left_alone_and_one_that_is_over_is_not() {
    let boosted = |state: &str| {
        pod(|p| {
            p["metadata"]["labels"] = json!({STARTUP_BOOST: "boost"});
            p["metadata"]["annotations"] =
                json!({STARTUP_BOOST: format!("{{\"state\":\"{state}\"}}")});
        })
    };
    assert_eq!(on_pod(&boosted("Active"), "mbcas"), [Rival::StartupBoost]);
    assert_eq!(on_pod(&boosted("Reverted"), "mbcas"), []);
    assert_eq!(on_pod(&plain(), "mbcas"), []);
    let labelled = pod(|p| p["metadata"]["labels"] = json!({STARTUP_BOOST: "boost"}));
    assert_eq!(on_pod(&labelled, "mbcas"), [Rival::StartupBoost]);
}

#[test]
fn whoever_resized_the_cpu_is_a_rival_and_whoever_resized_memory_is_not() {
    let owned = |manager: &str, field: &str| {
        pod(|p| {
            p["metadata"]["managedFields"] =
                json!([owner(manager, "Apply", Some("resize"), &[field])]);
        })
    };
    assert_eq!(
        on_pod(&owned("vpa", "limits.cpu"), "mbcas"),
        [Rival::Resizer("vpa".into())]
    );
    assert_eq!(on_pod(&owned("vpa", "limits.memory"), "mbcas"), []);
    assert_eq!(on_pod(&owned("mbcas", "limits.cpu"), "mbcas"), []);
}
