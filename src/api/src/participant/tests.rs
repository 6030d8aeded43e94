use k8s_openapi::api::core::v1::Pod;
use mbcas_core::units::{Budget, MilliCpu};
use serde_json::{Value, json};

use super::{NotParticipant, Participation, restarts_on_resize, submitted_cpu_request};

/// A participant: container `app` (100m to 400m) and `log`, admitted, running.
fn pod(edit: impl FnOnce(&mut Value)) -> Pod {
    let container = |name: &str, request: &str, limit: &str| json!({ "name": name, "resources": { "requests": { "cpu": request }, "limits": { "cpu": limit } } });
    let status = |name: &str, limit: &str| {
        json!({
            "name": name, "image": "i", "imageID": "i", "ready": true, "restartCount": 0,
            "state": { "running": {} },
            "resources": { "limits": { "cpu": limit } },
        })
    };
    let mut pod = json!({
        "metadata": { "name": "a", "annotations": { "mbcas.dev/original": r#"{"version":1,"containers":{}}"# } },
        "spec": { "containers": [container("app", "100m", "400m"), container("log", "10m", "20m")] },
        "status": {
            "phase": "Running",
            "qosClass": "Burstable",
            "containerStatuses": [status("app", "400m"), status("log", "20m")],
        },
    });
    edit(&mut pod);
    serde_json::from_value(pod).unwrap()
}

fn judged(edit: impl FnOnce(&mut Value)) -> Result<Participation, NotParticipant> {
    Participation::of(&pod(edit))
}

fn annotate(pod: &mut Value, key: &str, value: &str) {
    pod["metadata"]["annotations"][key] = json!(value);
}

#[test]
fn an_admitted_running_container_with_a_request_takes_part() {
    let taken = judged(|p| annotate(p, "mbcas.budget", "600")).unwrap();
    assert_eq!(taken.container, "app");
    assert_eq!(
        (taken.request, taken.limit),
        (MilliCpu::new(100), Some(MilliCpu::new(400)))
    );
    assert_eq!(taken.settings.budget.map(Budget::get), Some(600));
    assert!(!taken.has_agent);
}

#[test]
fn the_container_is_the_annotated_one_else_the_default_else_the_first() {
    let named = |p: &mut Value| annotate(p, "mbcas.container", "log");
    assert_eq!(judged(named).unwrap().container, "log");
    let default = |p: &mut Value| annotate(p, "kubectl.kubernetes.io/default-container", "log");
    assert_eq!(judged(default).unwrap().container, "log");
    // A default container that is not there is somebody else's mistake.
    let stale = |p: &mut Value| annotate(p, "kubectl.kubernetes.io/default-container", "gone");
    assert_eq!(judged(stale).unwrap().container, "app");
    let both = |p: &mut Value| {
        annotate(p, "kubectl.kubernetes.io/default-container", "log");
        annotate(p, "mbcas.container", "app");
    };
    assert_eq!(judged(both).unwrap().container, "app");
}

#[test]
fn a_container_that_is_named_and_not_there_is_refused_by_name() {
    let named = |p: &mut Value| annotate(p, "mbcas.container", "ap");
    assert_eq!(
        judged(named),
        Err(NotParticipant::NoSuchContainer("ap".into()))
    );
}

#[test]
fn an_agent_is_seen_among_the_sidecars() {
    let agent = |p: &mut Value| {
        p["spec"]["initContainers"] =
            json!([{ "name": "mbcas-demand-agent", "restartPolicy": "Always" }]);
    };
    assert!(judged(agent).unwrap().has_agent);
}

#[test]
fn while_a_resize_is_on_its_way_the_larger_limit_counts() {
    let limits = |spec: Value, status: Value| {
        let edited = judged(|p| {
            p["spec"]["containers"][0]["resources"]["limits"]["cpu"] = spec;
            p["status"]["containerStatuses"][0]["resources"]["limits"]["cpu"] = status;
        });
        edited.unwrap().limit
    };
    assert_eq!(
        limits(json!("300m"), json!("500m")),
        Some(MilliCpu::new(500))
    );
    assert_eq!(
        limits(json!("0.6"), json!("500m")),
        Some(MilliCpu::new(600))
    );
}

#[test]
fn a_first_limit_that_is_on_its_way_does_not_bind_yet() {
    let adding = judged(|p| p["status"]["containerStatuses"][0]["resources"]["limits"] = json!({}));
    assert_eq!(adding.unwrap().limit, None);
}

#[test]
fn without_a_limit_in_spec_and_status_it_is_unlimited() {
    let unlimited = judged(|p| {
        p["spec"]["containers"][0]["resources"]["limits"] = json!({});
        p["status"]["containerStatuses"][0]["resources"]["limits"] = json!({});
    });
    assert_eq!(unlimited.unwrap().limit, None);
    // A limit of zero is none.
    let zero = judged(|p| {
        p["spec"]["containers"][0]["resources"]["limits"]["cpu"] = json!("0");
        p["status"]["containerStatuses"][0]["resources"]["limits"]["cpu"] = json!("0");
    });
    assert_eq!(zero.unwrap().limit, None);
}

#[test]
fn whoever_opted_out_is_left_out_whatever_else_holds() {
    let out = |p: &mut Value| {
        annotate(p, "mbcas.enabled", "false");
        p["metadata"]["annotations"]["mbcas.dev/original"] = Value::Null;
        p["metadata"]["annotations"]
            .as_object_mut()
            .unwrap()
            .remove("mbcas.dev/original");
    };
    assert_eq!(judged(out), Err(NotParticipant::OptedOut));
}

#[test]
fn malformed_annotations_are_told_all_at_once() {
    let two = |p: &mut Value| {
        annotate(p, "mbcas.budget", "lots");
        annotate(p, "mbcas.budgte", "1");
    };
    let Err(NotParticipant::Malformed(why)) = judged(two) else {
        panic!("taken")
    };
    assert!(
        why.contains("mbcas.budget=\"lots\"") && why.contains("mbcas.budgte"),
        "{why}"
    );
}

#[test]
fn a_pod_without_a_readable_record_was_not_admitted() {
    for record in [None, Some("{"), Some(r#"{"version":9,"containers":{}}"#)] {
        let edit = |p: &mut Value| {
            let annotations = p["metadata"]["annotations"].as_object_mut().unwrap();
            annotations.remove("mbcas.dev/original");
            annotations.extend(record.map(|r| ("mbcas.dev/original".to_owned(), json!(r))));
        };
        assert_eq!(judged(edit), Err(NotParticipant::NotAdmitted), "{record:?}");
    }
}

#[test]
fn pods_that_do_not_run_are_left_out() {
    for phase in ["Pending", "Succeeded", "Failed", "Unknown"] {
        assert_eq!(
            judged(|p| p["status"]["phase"] = json!(phase)),
            Err(NotParticipant::NotRunning),
            "{phase}"
        );
    }
    let leaving =
        |p: &mut Value| p["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(judged(leaving), Err(NotParticipant::NotRunning));
    let crashed = |p: &mut Value| {
        p["status"]["containerStatuses"][0]["state"] =
            json!({ "waiting": { "reason": "CrashLoopBackOff" } });
    };
    assert_eq!(judged(crashed), Err(NotParticipant::NotRunning));
    let untold = |p: &mut Value| p["status"]["containerStatuses"] = json!([]);
    assert_eq!(judged(untold), Err(NotParticipant::NotRunning));
}

#[test]
fn a_container_needs_a_request_above_zero() {
    for request in [Value::Null, json!("0"), json!("lots")] {
        let edit = |p: &mut Value| {
            let requests = p["spec"]["containers"][0]["resources"]["requests"]
                .as_object_mut()
                .unwrap();
            requests.remove("cpu");
            requests.extend(
                Some(request.clone())
                    .filter(|r| !r.is_null())
                    .map(|r| ("cpu".to_owned(), r)),
            );
        };
        assert_eq!(judged(edit), Err(NotParticipant::NoRequest), "{request}");
    }
}

#[test]
fn guaranteed_pods_are_left_to_requests_mode() {
    let guaranteed = |p: &mut Value| p["status"]["qosClass"] = json!("Guaranteed");
    assert_eq!(judged(guaranteed), Err(NotParticipant::Guaranteed));
}

#[test]
fn a_kubelet_that_reports_no_resources_cannot_resize() {
    let old = |p: &mut Value| {
        p["status"]["containerStatuses"][0]
            .as_object_mut()
            .unwrap()
            .remove("resources");
    };
    assert_eq!(judged(old), Err(NotParticipant::NotResizable));
}

#[test]
fn only_a_restart_on_cpu_changes_counts() {
    let policy = |resource: &str, policy: &str| {
        let pod = pod(|p| {
            p["spec"]["containers"][0]["resizePolicy"] =
                json!([{ "resourceName": resource, "restartPolicy": policy }]);
        });
        restarts_on_resize(&pod.spec.unwrap().containers[0])
    };
    assert!(policy("cpu", "RestartContainer"));
    assert!(!policy("memory", "RestartContainer"));
    assert!(!policy("cpu", "NotRequired"));
    let restarting = |p: &mut Value| {
        p["spec"]["containers"][0]["resizePolicy"] =
            json!([{ "resourceName": "cpu", "restartPolicy": "RestartContainer" }]);
    };
    assert_eq!(judged(restarting), Err(NotParticipant::RestartOnResize));
}

#[test]
fn every_reason_has_a_word_of_its_own() {
    let reasons = [
        NotParticipant::OptedOut,
        NotParticipant::NotAdmitted,
        NotParticipant::Malformed(String::new()),
        NotParticipant::NoSuchContainer(String::new()),
        NotParticipant::NoRequest,
        NotParticipant::Guaranteed,
        NotParticipant::NotResizable,
        NotParticipant::RestartOnResize,
        NotParticipant::NotRunning,
    ];
    let words: std::collections::BTreeSet<&str> =
        reasons.iter().map(NotParticipant::reason).collect();
    assert_eq!(words.len(), reasons.len());
    let plain = |word: &str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    assert!(words.into_iter().all(plain));
}

#[test]
fn a_limit_stands_for_a_request_that_is_not_there_and_not_for_one_of_zero() {
    let request = |resources: Value| {
        let container = json!({"name": "app", "resources": resources});
        submitted_cpu_request(&serde_json::from_value(container).unwrap()).map(MilliCpu::get)
    };
    assert_eq!(
        request(json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}})),
        Some(1000)
    );
    assert_eq!(
        request(json!({"requests": {"memory": "1Mi"}, "limits": {"cpu": "2"}})),
        Some(2000)
    );
    assert_eq!(request(json!({"limits": {"cpu": "2"}})), Some(2000));
    assert_eq!(
        request(json!({"requests": {"cpu": "0"}, "limits": {"cpu": "2"}})),
        None
    );
    assert_eq!(request(json!({})), None);
}
