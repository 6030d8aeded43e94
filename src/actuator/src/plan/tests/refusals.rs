//! Every refusal there is.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{cpu, planned, quantity, two_containers, with_policy};
use crate::fixtures::{plain, pod, status};
use crate::plan::plan;
use crate::refusal::Refusal;
use crate::request::{ResizePolicy, ResizeRequest};

fn refused(pod: &Pod, request: &ResizeRequest) -> Refusal {
    plan(pod, request, "mbcas").unwrap_err()
}

#[test]
fn a_pod_that_was_not_read_from_the_api_server_is_refused() {
    let mut pods = [plain(), plain(), plain()];
    pods[0].spec = None;
    pods[1].metadata.uid = None;
    pods[2].metadata.resource_version = None;
    for pod in pods {
        assert!(matches!(refused(&pod, &cpu("1")), Refusal::Incomplete(p) if p == "shop/web-0"));
    }
}

#[test]
fn a_container_that_is_not_there_is_refused_with_those_that_are() {
    let mut pod = two_containers();
    let mesh = json!({ "name": "mesh", "restartPolicy": "Always" });
    let setup = json!({ "name": "setup" });
    let spec = pod.spec.as_mut().unwrap();
    spec.init_containers = serde_json::from_value(json!([mesh, setup])).unwrap();
    let refusal = refused(
        &pod,
        &ResizeRequest {
            container: Some("ap".into()),
            ..cpu("1")
        },
    );
    assert_eq!(
        refusal.to_string(),
        "pod shop/web-0 has no container \"ap\"; it has app, log, mesh"
    );
}

#[test]
fn several_containers_and_no_name_is_refused() {
    let refusal = refused(&two_containers(), &cpu("1"));
    assert!(matches!(refusal, Refusal::Ambiguous { known, .. } if known == ["app", "log"]));
}

#[test]
fn a_plain_init_container_is_refused() {
    let pod = pod(|p| p["spec"]["initContainers"] = json!([{ "name": "setup" }]));
    let refusal = refused(
        &pod,
        &ResizeRequest {
            container: Some("setup".into()),
            ..cpu("1")
        },
    );
    assert!(matches!(refusal, Refusal::PlainInitContainer(name) if name == "setup"));
}

#[test]
fn static_and_windows_pods_are_refused() {
    let fixed =
        pod(|p| p["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "x" }));
    assert!(matches!(refused(&fixed, &cpu("1")), Refusal::StaticPod(_)));
    let windows = pod(|p| p["spec"]["os"] = json!({ "name": "windows" }));
    assert!(matches!(refused(&windows, &cpu("1")), Refusal::Windows(_)));
}

#[test]
fn a_pod_that_ends_or_has_ended_is_refused() {
    let leaving = pod(|p| p["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    assert!(matches!(refused(&leaving, &cpu("1")), Refusal::Ended(_)));
    for phase in ["Succeeded", "Failed"] {
        assert!(matches!(
            refused(&pod(|p| p["status"]["phase"] = json!(phase)), &cpu("1")),
            Refusal::Ended(_)
        ));
    }
}

#[test]
fn a_kubelet_that_reports_no_resources_cannot_resize() {
    let old = pod(|p| p["status"]["containerStatuses"][0]["resources"] = Value::Null);
    assert!(matches!(
        refused(&old, &cpu("1")),
        Refusal::NodeWithoutResize(_)
    ));
    // A container that does not run yet has none either, and says nothing about the kubelet.
    let starting = pod(|p| {
        let mut waiting = status("app", "100m", "200m");
        waiting["resources"] = Value::Null;
        waiting["state"] = json!({ "waiting": {} });
        p["status"]["containerStatuses"] = json!([waiting]);
    });
    assert_eq!(planned(&starting, &cpu("1")).changes.len(), 1);
}

#[test]
fn another_incarnation_is_refused() {
    let meant = |uid: &str| ResizeRequest {
        uid: Some(uid.into()),
        ..cpu("1")
    };
    assert!(matches!(
        refused(&plain(), &meant("22bb")),
        Refusal::Replaced(_)
    ));
    assert_eq!(planned(&plain(), &meant("11aa")).uid, "11aa");
}

#[test]
fn nothing_asked_is_refused() {
    assert!(matches!(
        refused(&plain(), &ResizeRequest::default()),
        Refusal::NothingAsked
    ));
}

#[test]
fn amounts_that_are_not_above_zero_are_refused() {
    for amount in ["-1", "0", "0Mi", "-1n"] {
        let refusal = refused(&plain(), &cpu(amount));
        assert!(
            matches!(
                refusal,
                Refusal::NotPositive {
                    resource: "cpu",
                    ..
                }
            ),
            "{amount}: {refusal}"
        );
    }
    let memory = ResizeRequest {
        memory: Some(quantity("-1Mi")),
        ..ResizeRequest::default()
    };
    assert!(matches!(
        refused(&plain(), &memory),
        Refusal::NotPositive {
            resource: "memory",
            ..
        }
    ));
}

#[test]
fn amounts_in_the_pod_that_cannot_be_read_are_refused() {
    let pod = pod(|p| p["spec"]["containers"][0]["resources"]["limits"]["cpu"] = json!("lots"));
    let refusal = refused(&pod, &cpu("1"));
    assert!(matches!(
        refusal,
        Refusal::Unreadable {
            resource: "cpu",
            side: "limits",
            ..
        }
    ));
}

#[test]
fn a_limit_below_the_request_is_refused_from_both_sides() {
    let low = refused(&plain(), &cpu("99m"));
    assert!(
        matches!(low, Refusal::LimitBelowRequest { ref limit, ref request, .. } if limit == "99m" && request == "100m")
    );
    let high = refused(&plain(), &with_policy(ResizePolicy::Requests, cpu("201m")));
    assert!(matches!(high, Refusal::LimitBelowRequest { .. }));
    assert_eq!(planned(&plain(), &cpu("100m")).changes.len(), 1);
}

#[test]
fn a_limit_without_a_request_would_set_the_request_and_is_refused() {
    let pod = pod(|p| {
        p["spec"]["containers"][0]["resources"] = json!({ "requests": { "memory": "1Mi" } });
    });
    let refusal = refused(&pod, &cpu("100m"));
    assert!(matches!(
        refusal,
        Refusal::LimitWithoutRequest {
            resource: "cpu",
            ..
        }
    ));
    assert_eq!(
        planned(&pod, &with_policy(ResizePolicy::Both, cpu("100m")))
            .changes
            .len(),
        2
    );
}

fn guaranteed() -> Pod {
    pod(|p| {
        p["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "1", "memory": "1Gi" }, "limits": { "cpu": "1", "memory": "1Gi" } });
        p["status"]["qosClass"] = json!("Guaranteed");
    })
}

#[test]
fn a_guaranteed_pod_stays_guaranteed_or_is_refused() {
    assert!(matches!(
        refused(&guaranteed(), &cpu("2")),
        Refusal::QosWouldChange {
            hint: "equal (policy both)",
            ..
        }
    ));
    let both = with_policy(ResizePolicy::Both, cpu("2"));
    assert_eq!(planned(&guaranteed(), &both).changes.len(), 2);
}

#[test]
fn a_burstable_pod_must_not_become_guaranteed() {
    let nearly = pod(|p| {
        p["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "1", "memory": "1Gi" }, "limits": { "cpu": "2", "memory": "1Gi" } });
    });
    let refusal = refused(&nearly, &cpu("1"));
    assert!(
        matches!(refusal, Refusal::QosWouldChange { ref from, ref to, .. } if from == "Burstable" && to == "Guaranteed")
    );
    assert_eq!(planned(&nearly, &cpu("1010m")).changes.len(), 1);
}

#[test]
fn a_best_effort_pod_cannot_be_given_resources() {
    let bare = pod(|p| {
        p["spec"]["containers"][0]["resources"] = json!({});
        p["status"]["qosClass"] = json!("BestEffort");
    });
    let both = with_policy(ResizePolicy::Both, cpu("1"));
    assert!(matches!(
        refused(&bare, &both),
        Refusal::QosWouldChange { hint: "absent", .. }
    ));
}

#[test]
fn the_class_that_the_api_server_noted_is_the_one_that_counts() {
    let odd = pod(|p| p["status"]["qosClass"] = json!("Guaranteed"));
    assert!(matches!(
        refused(&odd, &cpu("300m")),
        Refusal::QosWouldChange { .. }
    ));
    let unnoted = pod(|p| p["status"]["qosClass"] = Value::Null);
    assert_eq!(planned(&unnoted, &cpu("300m")).changes.len(), 1);
}

#[test]
fn a_resize_that_would_restart_is_refused_for_that_resource_only() {
    let pod = pod(|p| {
        p["spec"]["containers"][0]["resizePolicy"] = json!([
            { "resourceName": "memory", "restartPolicy": "RestartContainer" },
            { "resourceName": "cpu", "restartPolicy": "NotRequired" },
        ]);
    });
    let memory = ResizeRequest {
        memory: Some(quantity("256Mi")),
        ..ResizeRequest::default()
    };
    assert!(matches!(refused(&pod, &memory), Refusal::WouldRestart(c, "memory") if c == "app"));
    assert_eq!(planned(&pod, &cpu("300m")).changes.len(), 1);
}

#[test]
fn a_windows_pod_is_told_by_the_nodes_that_it_may_run_on_too() {
    let windows = pod(|p| p["spec"]["nodeSelector"] = json!({ "kubernetes.io/os": "windows" }));
    assert!(matches!(refused(&windows, &cpu("1")), Refusal::Windows(_)));
}

/// A pod with 300m to 1000m as a whole.
fn pod_level() -> Pod {
    pod(|p| {
        p["spec"]["resources"] = json!({ "requests": { "cpu": "300m" }, "limits": { "cpu": "1" } });
    })
}

#[test]
fn pod_level_resources_are_left_alone_before_1_36_and_kept_to_from_there_on() {
    assert!(matches!(
        refused(&pod_level(), &cpu("300m")),
        Refusal::PodLevelResources(_)
    ));
    let new = |amount: &str| ResizeRequest {
        pod_level: true,
        ..cpu(amount)
    };
    assert_eq!(planned(&pod_level(), &new("1")).changes.len(), 1);
    assert!(matches!(
        refused(&pod_level(), &new("1001m")),
        Refusal::AbovePod { ref most, .. } if most == "1"
    ));
    // Fitted rather than refused where that is asked for.
    let fitted = ResizeRequest {
        bounds: Some(crate::bounds::Bounds::default()),
        ..new("1500m")
    };
    let plan = planned(&pod_level(), &fitted);
    assert_eq!(plan.changes[0].to, quantity("1"));
    assert_eq!(plan.bound_by, Some(crate::bounds::Constraint::Pod));
}

#[test]
fn a_container_that_was_restarted_since_is_not_the_one_that_was_meant() {
    let started = |time: &str| ResizeRequest {
        started: Some(time.parse().unwrap()),
        ..cpu("300m")
    };
    let meant = started("2026-01-01T00:00:00Z");
    assert_eq!(planned(&plain(), &meant).changes.len(), 1);
    let before = started("2025-12-31T23:59:59Z");
    assert!(matches!(refused(&plain(), &before), Refusal::Restarted(_, c) if c == "app"));
    let waiting = pod(|p| p["status"]["containerStatuses"][0]["state"] = json!({ "waiting": {} }));
    assert!(matches!(refused(&waiting, &meant), Refusal::Restarted(..)));
}

fn considerate(amount: &str) -> ResizeRequest {
    ResizeRequest {
        considerate: Some("2026-01-01T00:10:00Z".parse().unwrap()),
        ..cpu(amount)
    }
}

#[test]
fn a_pod_that_is_being_debugged_is_left_alone_until_that_is_over() {
    let debugged = |state: Value| {
        pod(|p| {
            p["spec"]["ephemeralContainers"] = json!([{ "name": "debugger", "image": "i" }]);
            p["status"]["ephemeralContainerStatuses"] = state;
        })
    };
    let with = |state: Value| json!([{ "name": "debugger", "image": "i", "imageID": "i", "ready": false, "restartCount": 0, "state": state }]);
    let ended = json!({ "terminated": { "exitCode": 0 } });
    for there in [json!([]), with(json!({ "running": {} }))] {
        let pod = debugged(there);
        assert!(matches!(
            refused(&pod, &considerate("300m")),
            Refusal::Debugged(_)
        ));
        // A person may.
        assert_eq!(planned(&pod, &cpu("300m")).changes.len(), 1);
    }
    assert_eq!(
        planned(&debugged(with(ended)), &considerate("300m"))
            .changes
            .len(),
        1
    );
}

#[test]
fn nothing_is_taken_from_a_pod_that_is_not_ready_for_some_minutes() {
    let ready = |status: &str, since: &str| {
        pod(|p| {
            p["status"]["conditions"] =
                json!([{ "type": "Ready", "status": status, "lastTransitionTime": since }]);
        })
    };
    let unready = ready("False", "2026-01-01T00:05:01Z");
    assert!(matches!(
        refused(&unready, &considerate("150m")),
        Refusal::NotReady(_)
    ));
    // It may get more, it is not protected for ever, and a person may do as he likes.
    assert_eq!(planned(&unready, &considerate("300m")).changes.len(), 1);
    assert_eq!(planned(&unready, &cpu("150m")).changes.len(), 1);
    for other in [
        ready("False", "2026-01-01T00:05:00Z"),
        ready("False", "2026-01-01T00:12:00Z"),
        ready("True", "2026-01-01T00:09:00Z"),
        plain(),
    ] {
        assert_eq!(planned(&other, &considerate("150m")).changes.len(), 1);
    }
}

#[test]
fn memory_is_raised_and_lowered_only_if_that_is_asked_for() {
    let memory = |amount: &str, policy| ResizeRequest {
        memory: Some(quantity(amount)),
        policy,
        ..ResizeRequest::default()
    };
    let less = memory("100Mi", ResizePolicy::Limits);
    let refusal = refused(&plain(), &less);
    assert!(
        matches!(refusal, Refusal::LowersMemory { ref from, ref to, side: "limits", .. } if from == "128Mi" && to == "100Mi"),
        "{refusal}"
    );
    let requests = memory("32Mi", ResizePolicy::Requests);
    assert!(matches!(
        refused(&plain(), &requests),
        Refusal::LowersMemory {
            side: "requests",
            ..
        }
    ));
    let allowed = ResizeRequest {
        lower_memory: true,
        ..less
    };
    assert_eq!(planned(&plain(), &allowed).changes.len(), 1);
    let more = memory("256Mi", ResizePolicy::Limits);
    assert_eq!(planned(&plain(), &more).changes.len(), 1);
}

#[test]
fn a_guaranteed_pod_moves_on_both_sides_if_that_is_allowed() {
    for policy in [
        ResizePolicy::Limits,
        ResizePolicy::Requests,
        ResizePolicy::Both,
    ] {
        let both = ResizeRequest {
            both_if_guaranteed: true,
            ..with_policy(policy, cpu("2"))
        };
        assert_eq!(planned(&guaranteed(), &both).changes.len(), 2, "{policy}");
        // It says nothing about others.
        let one = if policy == ResizePolicy::Both { 2 } else { 1 };
        let wanted = planned(
            &plain(),
            &ResizeRequest {
                cpu: Some(quantity("150m")),
                ..both
            },
        )
        .wanted;
        assert_eq!(wanted.len(), one, "{policy}");
    }
}

#[test]
fn a_limit_that_would_make_the_pod_guaranteed_is_fitted_a_quantum_above_the_request() {
    let nearly = pod(|p| {
        p["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "1", "memory": "1Gi" }, "limits": { "cpu": "2", "memory": "1Gi" } });
    });
    let fitted = ResizeRequest {
        bounds: Some(crate::bounds::Bounds::default()),
        ..cpu("900m")
    };
    let plan = planned(&nearly, &fitted);
    assert_eq!(plan.changes[0].to, quantity("1010m"));
    assert_eq!(plan.bound_by, Some(crate::bounds::Constraint::QosClass));
    // One that lacks more than that may have them equal.
    assert_eq!(
        planned(&plain(), &fitted_to("50m")).changes[0].to,
        quantity("100m")
    );
}

fn fitted_to(amount: &str) -> ResizeRequest {
    ResizeRequest {
        bounds: Some(crate::bounds::Bounds::default()),
        ..cpu(amount)
    }
}
