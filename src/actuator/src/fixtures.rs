//! Pods as the API server hands them out, for tests.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// A running pod with one container, 100m to 200m CPU and 64Mi to 128Mi memory,
/// created by a ReplicaSet controller; `edit` makes it special.
pub(crate) fn pod(edit: impl FnOnce(&mut Value)) -> Pod {
    let mut pod = json!({
        "metadata": {
            "name": "web-0",
            "namespace": "shop",
            "uid": "11aa",
            "resourceVersion": "70",
            "generation": 3,
            "managedFields": [
                owner("kube-controller-manager", "Update", None, &["requests.cpu", "limits.cpu", "requests.memory", "limits.memory"]),
            ],
        },
        "spec": { "containers": [container("app", "100m", "200m")] },
        "status": {
            "phase": "Running",
            "qosClass": "Burstable",
            "observedGeneration": 3,
            "containerStatuses": [status("app", "100m", "200m")],
        },
    });
    edit(&mut pod);
    serde_json::from_value(pod).unwrap()
}

/// The plain pod.
pub(crate) fn plain() -> Pod {
    pod(|_| {})
}

/// A container with these CPU amounts, and 64Mi to 128Mi memory.
pub(crate) fn container(name: &str, request: &str, limit: &str) -> Value {
    json!({ "name": name, "resources": {
        "requests": { "cpu": request, "memory": "64Mi" },
        "limits": { "cpu": limit, "memory": "128Mi" },
    }})
}

/// The status of a running container with these amounts.
pub(crate) fn status(name: &str, request: &str, limit: &str) -> Value {
    let mut status = container(name, request, limit);
    status["ready"] = json!(true);
    status["restartCount"] = json!(0);
    status["image"] = json!("i");
    status["imageID"] = json!("i");
    status["state"] = json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } });
    status
}

/// An entry of `managedFields` for container `app`; fields as in `limits.cpu`.
pub(crate) fn owner(
    manager: &str,
    operation: &str,
    subresource: Option<&str>,
    fields: &[&str],
) -> Value {
    owner_of(
        "f:containers",
        "app",
        manager,
        operation,
        subresource,
        fields,
    )
}

/// As [`owner`], for any container in any list.
pub(crate) fn owner_of(
    list: &str,
    container: &str,
    manager: &str,
    operation: &str,
    subresource: Option<&str>,
    fields: &[&str],
) -> Value {
    let mut resources = json!({});
    for field in fields {
        let (side, resource) = field.split_once('.').unwrap();
        resources[format!("f:{side}")][format!("f:{resource}")] = json!({});
    }
    let key = format!("k:{{\"name\":\"{container}\"}}");
    json!({
        "manager": manager,
        "operation": operation,
        "subresource": subresource,
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "time": "2026-01-01T00:00:00Z",
        "fieldsV1": { "f:spec": { list: { key: { ".": {}, "f:name": {}, "f:resources": resources } } } },
    })
}
