mod laws;

use k8s_openapi::api::core::v1::Pod;
use mbcas_core::quantity::Quantity;
use serde_json::{Value, json};

use super::{ResizePlan, plan};
use crate::fixtures::{container, owner, owner_of, plain, pod, status};
use crate::refusal::Refusal;
use crate::request::{ResizePolicy, ResizeRequest};

fn quantity(text: &str) -> Quantity {
    Quantity::parse(text).unwrap()
}

fn cpu(amount: &str) -> ResizeRequest {
    ResizeRequest {
        cpu: Some(quantity(amount)),
        ..ResizeRequest::default()
    }
}

fn with_policy(policy: ResizePolicy, request: ResizeRequest) -> ResizeRequest {
    ResizeRequest { policy, ..request }
}

fn planned(pod: &Pod, request: &ResizeRequest) -> ResizePlan {
    plan(pod, request, "mbcas").unwrap()
}

fn refused(pod: &Pod, request: &ResizeRequest) -> Refusal {
    plan(pod, request, "mbcas").unwrap_err()
}

/// The part of the patch that says what changes.
fn intent(plan: &ResizePlan) -> Value {
    plan.patch["spec"].clone()
}

fn two_containers() -> Pod {
    pod(|p| {
        p["spec"]["containers"] = json!([
            container("app", "100m", "200m"),
            container("log", "10m", "20m")
        ])
    })
}

// What is sent.

#[test]
fn a_limits_resize_names_the_pod_its_incarnation_its_version_and_one_amount() {
    let plan = planned(&plain(), &cpu("300m"));
    assert_eq!(
        plan.patch,
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": "web-0", "namespace": "shop", "uid": "11aa", "resourceVersion": "70" },
            "spec": { "containers": [{ "name": "app", "resources": { "limits": { "cpu": "300m" } } }] },
        })
    );
    assert_eq!(
        (
            plan.container.as_str(),
            plan.generation,
            plan.manager.as_str()
        ),
        ("app", Some(3), "mbcas")
    );
}

#[test]
fn each_policy_changes_its_sides_and_no_other() {
    let sent = |policy, amount| {
        intent(&planned(&plain(), &with_policy(policy, cpu(amount))))["containers"][0]["resources"]
            .clone()
    };
    assert_eq!(
        sent(ResizePolicy::Limits, "150m"),
        json!({ "limits": { "cpu": "150m" } })
    );
    assert_eq!(
        sent(ResizePolicy::Requests, "150m"),
        json!({ "requests": { "cpu": "150m" } })
    );
    let both = json!({ "limits": { "cpu": "150m" }, "requests": { "cpu": "150m" } });
    assert_eq!(sent(ResizePolicy::Both, "150m"), both);
}

#[test]
fn cpu_and_memory_travel_together() {
    let request = ResizeRequest {
        memory: Some(quantity("256Mi")),
        ..cpu("300m")
    };
    let plan = planned(&plain(), &request);
    assert_eq!(
        intent(&plan)["containers"][0]["resources"],
        json!({ "limits": { "cpu": "300m", "memory": "256Mi" } })
    );
    let changes: Vec<String> = plan
        .changes
        .iter()
        .map(|c| format!("{} {}", c.field.resource.name(), c.to))
        .collect();
    assert_eq!(changes, ["cpu 300m", "memory 256Mi"]);
}

#[test]
fn a_request_of_its_own_goes_beside_the_limit_in_one_write() {
    let request = ResizeRequest {
        cpu_request: Some(quantity("50m")),
        ..cpu("80m")
    };
    let sent = |policy| {
        intent(&planned(&plain(), &with_policy(policy, request.clone())))["containers"][0]["resources"].clone()
    };
    let both = json!({ "limits": { "cpu": "80m" }, "requests": { "cpu": "50m" } });
    assert_eq!(sent(ResizePolicy::Limits), both);
    assert_eq!(sent(ResizePolicy::Both), both);
    assert_eq!(
        sent(ResizePolicy::Requests),
        json!({ "requests": { "cpu": "50m" } })
    );
}

#[test]
fn amounts_are_sent_as_the_api_server_would_store_them() {
    let plan = planned(&plain(), &cpu("250.2m"));
    assert_eq!(
        intent(&plan)["containers"][0]["resources"]["limits"]["cpu"],
        "251m"
    );
    assert_eq!(planned(&plain(), &cpu("0.2")).changes, []);
}

#[test]
fn what_is_as_asked_already_is_wanted_but_no_change() {
    let plan = planned(&plain(), &cpu("200m"));
    assert_eq!((plan.wanted.len(), plan.changes.len()), (1, 0));
}

#[test]
fn sidecars_are_patched_where_they_are_listed() {
    let pod = pod(|p| {
        let mut mesh = container("mesh", "10m", "20m");
        mesh["restartPolicy"] = json!("Always");
        p["spec"]["initContainers"] = json!([mesh]);
    });
    let plan = planned(
        &pod,
        &ResizeRequest {
            container: Some("mesh".into()),
            ..cpu("30m")
        },
    );
    let sent = json!({ "initContainers": [{ "name": "mesh", "resources": { "limits": { "cpu": "30m" } } }] });
    assert_eq!(intent(&plan), sent);
    assert!(plan.changes[0].field.init);
}

#[test]
fn the_container_is_the_named_one_else_the_default_else_the_only_one() {
    assert_eq!(planned(&plain(), &cpu("300m")).container, "app");
    let named = ResizeRequest {
        container: Some("log".into()),
        ..cpu("30m")
    };
    assert_eq!(planned(&two_containers(), &named).container, "log");
    let mut with_default = two_containers();
    let default = [(
        "kubectl.kubernetes.io/default-container".to_owned(),
        "log".to_owned(),
    )];
    with_default.metadata.annotations = Some(default.into());
    assert_eq!(planned(&with_default, &cpu("30m")).container, "log");
}

// Owners.

fn owned_by(entries: Value) -> Pod {
    pod(|p| p["metadata"]["managedFields"] = entries)
}

#[test]
fn everything_that_is_ours_is_repeated_as_it_stands() {
    let mut mesh = container("mesh", "10m", "20m");
    mesh["restartPolicy"] = json!("Always");
    let pod = pod(|p| {
        p["spec"]["initContainers"] = json!([mesh]);
        p["spec"]["containers"] = json!([
            container("app", "100m", "200m"),
            container("log", "10m", "20m")
        ]);
        p["metadata"]["managedFields"] = json!([
            owner(
                "mbcas",
                "Apply",
                Some("resize"),
                &["limits.cpu", "requests.memory"]
            ),
            owner_of(
                "f:containers",
                "log",
                "mbcas",
                "Apply",
                Some("resize"),
                &["limits.cpu"]
            ),
            owner_of(
                "f:initContainers",
                "mesh",
                "mbcas",
                "Apply",
                Some("resize"),
                &["limits.memory"]
            ),
        ]);
    });
    let plan = planned(
        &pod,
        &ResizeRequest {
            container: Some("app".into()),
            ..cpu("300m")
        },
    );
    assert_eq!(
        intent(&plan),
        json!({
            "containers": [
                { "name": "app", "resources": { "limits": { "cpu": "300m" }, "requests": { "memory": "64Mi" } } },
                { "name": "log", "resources": { "limits": { "cpu": "20m" } } },
            ],
            "initContainers": [{ "name": "mesh", "resources": { "limits": { "memory": "128Mi" } } }],
        })
    );
    assert_eq!(plan.changes.len(), 1);
}

#[test]
fn a_creator_is_taken_over_and_another_resizer_is_not() {
    let creator = owner("kubectl-client-side-apply", "Update", None, &["limits.cpu"]);
    let kubelet = owner("kubelet", "Update", Some("status"), &["limits.cpu"]);
    let vpa = owner("vpa", "Update", Some("resize"), &["limits.cpu"]);
    let of_memory = owner(
        "vpa",
        "Update",
        Some("resize"),
        &["limits.memory", "requests.cpu"],
    );
    assert!(planned(&owned_by(json!([creator, kubelet])), &cpu("300m")).force);
    assert!(planned(&owned_by(json!([])), &cpu("300m")).force);
    assert!(planned(&owned_by(json!([creator, of_memory])), &cpu("300m")).force);
    assert!(!planned(&owned_by(json!([creator, vpa])), &cpu("300m")).force);
}

#[test]
fn taking_over_forces_past_another_resizer() {
    let pod = owned_by(json!([owner(
        "mbcas",
        "Apply",
        Some("resize"),
        &["limits.cpu"]
    )]));
    let request = cpu("300m");
    assert!(!plan(&pod, &request, "mbcas-cli").unwrap().force);
    assert!(plan(&pod, &request, "mbcas").unwrap().force);
    let request = ResizeRequest {
        take_over: true,
        ..request
    };
    assert!(plan(&pod, &request, "mbcas-cli").unwrap().force);
}

// Refusals, every one of them.

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
        p["spec"]["containers"][0]["resources"] = json!({ "requests": { "memory": "1Mi" } })
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
