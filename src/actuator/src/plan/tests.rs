mod laws;
mod refusals;

use k8s_openapi::api::core::v1::Pod;
use mbcas_core::quantity::Quantity;
use serde_json::{Value, json};

use super::{ResizePlan, plan};
use crate::fixtures::{container, owner, owner_of, plain, pod};
use crate::request::{ResizePolicy, ResizeRequest, Resource, Side};

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

/// The part of the patch that says what changes.
fn intent(plan: &ResizePlan) -> Value {
    plan.patch["spec"].clone()
}

fn two_containers() -> Pod {
    pod(|p| {
        p["spec"]["containers"] = json!([
            container("app", "100m", "200m"),
            container("log", "10m", "20m")
        ]);
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

#[test]
fn a_plan_knows_how_to_take_itself_back() {
    let before = |request: &ResizeRequest| {
        let undo = planned(&plain(), request).undo().unwrap();
        let amounts = undo.amounts().into_iter();
        amounts
            .map(|(side, resource, amount)| (side, resource, amount.canonical()))
            .collect::<Vec<_>>()
    };
    let cpu_of = |side, amount: &str| (side, Resource::Cpu, amount.to_owned());
    let both = before(&with_policy(ResizePolicy::Both, cpu("300m")));
    assert_eq!(
        both,
        [cpu_of(Side::Limits, "200m"), cpu_of(Side::Requests, "100m")]
    );
    assert_eq!(before(&cpu("300m")), [cpu_of(Side::Limits, "200m")]);
    let requests = before(&with_policy(ResizePolicy::Requests, cpu("150m")));
    assert_eq!(requests, [cpu_of(Side::Requests, "100m")]);
    // Memory is only raised, and a limit that was absent cannot be taken away.
    let memory = ResizeRequest {
        memory: Some(quantity("1Gi")),
        ..ResizeRequest::default()
    };
    assert!(planned(&plain(), &memory).undo().is_none());
    let bare = pod(|p| {
        p["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "100m" } });
    });
    assert!(planned(&bare, &cpu("300m")).undo().is_none());
    assert!(
        planned(&bare, &with_policy(ResizePolicy::Requests, cpu("100m")))
            .undo()
            .is_none()
    );
}
