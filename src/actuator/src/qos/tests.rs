use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

use super::{QosClass, qos_class};

fn class_of(spec: &Value) -> QosClass {
    let spec: PodSpec = serde_json::from_value(spec.clone()).unwrap();
    qos_class(&spec)
}

fn container(requests: &Value, limits: &Value) -> Value {
    json!({ "name": "c", "resources": { "requests": requests, "limits": limits } })
}

#[test]
fn nothing_asked_for_is_best_effort() {
    assert_eq!(
        class_of(&json!({ "containers": [{ "name": "c" }] })),
        QosClass::BestEffort
    );
    let zero = container(&json!({ "cpu": "0" }), &json!({ "memory": "0" }));
    assert_eq!(
        class_of(&json!({ "containers": [zero] })),
        QosClass::BestEffort
    );
    let storage = container(&json!({ "ephemeral-storage": "1Gi" }), &json!({}));
    assert_eq!(
        class_of(&json!({ "containers": [storage] })),
        QosClass::BestEffort
    );
}

#[test]
fn equal_requests_and_limits_of_both_resources_are_guaranteed_whatever_their_spelling() {
    let same = container(
        &json!({ "cpu": "1", "memory": "1Gi" }),
        &json!({ "cpu": "1000m", "memory": "1024Mi" }),
    );
    assert_eq!(
        class_of(&json!({ "containers": [same] })),
        QosClass::Guaranteed
    );
}

#[test]
fn one_resource_alone_is_burstable() {
    let cpu_only = container(&json!({ "cpu": "1" }), &json!({ "cpu": "1" }));
    assert_eq!(
        class_of(&json!({ "containers": [cpu_only] })),
        QosClass::Burstable
    );
}

#[test]
fn a_request_of_zero_below_a_limit_is_burstable() {
    let zero = container(
        &json!({ "cpu": "0", "memory": "1Gi" }),
        &json!({ "cpu": "1", "memory": "1Gi" }),
    );
    assert_eq!(
        class_of(&json!({ "containers": [zero] })),
        QosClass::Burstable
    );
}

#[test]
fn one_container_without_resources_makes_a_guaranteed_pod_burstable() {
    let same = container(
        &json!({ "cpu": "1", "memory": "1Gi" }),
        &json!({ "cpu": "1", "memory": "1Gi" }),
    );
    let spec = json!({ "containers": [same.clone(), { "name": "bare" }] });
    assert_eq!(class_of(&spec), QosClass::Burstable);
    let spec = json!({ "containers": [same], "initContainers": [{ "name": "bare" }] });
    assert_eq!(class_of(&spec), QosClass::Burstable);
}

#[test]
fn resources_of_the_pod_itself_settle_it() {
    let bare = json!([{ "name": "c" }]);
    let whole = json!({ "requests": { "cpu": "1", "memory": "1Gi" }, "limits": { "cpu": "1", "memory": "1Gi" } });
    assert_eq!(
        class_of(&json!({ "containers": bare, "resources": whole })),
        QosClass::Guaranteed
    );
    let empty = json!({ "requests": {}, "limits": {} });
    assert_eq!(
        class_of(&json!({ "containers": bare, "resources": empty })),
        QosClass::BestEffort
    );
}

#[test]
fn classes_are_read_by_kubernetes_names() {
    assert_eq!(QosClass::of_name("Guaranteed"), Some(QosClass::Guaranteed));
    assert_eq!(QosClass::of_name("BestEffort"), Some(QosClass::BestEffort));
    assert_eq!(QosClass::of_name("besteffort"), None);
}
