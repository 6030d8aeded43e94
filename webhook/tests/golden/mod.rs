//! Pods of the shapes that clusters have, each with the whole verdict about it
//! in `snapshots/`. A change of behaviour shows there and is reviewed there.

use k8s_openapi::api::core::v1::Pod;
use mbcas_webhook::{Namespace, admit, admit::judge};
use serde_json::{Value, json};

use super::{pod, policy};

fn app(resources: &Value) -> Value {
    json!({"name": "app", "image": "registry.example.org/app:1", "resources": resources})
}

fn burstable() -> Value {
    app(
        &json!({"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": "64Mi"}}),
    )
}

/// The verdict as it stands in a snapshot.
fn verdict(pod: &Value) -> Value {
    let namespace = Namespace::default();
    let verdict = admit(pod, &policy(), &namespace).unwrap();
    let whole: Pod = serde_json::from_value(pod.clone()).unwrap();
    assert_eq!(
        judge(&whole, &policy(), &namespace).unwrap(),
        verdict,
        "something is looked at that mbcas_webhook::review::Outline does not read"
    );
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &verdict.patch).unwrap();
    let again = admit(&patched, &policy(), &Namespace::default()).unwrap();
    assert!(
        again.patch.0.is_empty(),
        "the second look changes something: {again:?}"
    );
    let faults = match &verdict.decision {
        mbcas_webhook::Decision::Deny(_, faults) => json!(faults),
        _ => Value::Null,
    };
    json!({
        "decision": verdict.decision.as_str(),
        "reason": verdict.decision.reason(),
        "faults": faults,
        "warnings": verdict.warnings,
        "patch": verdict.patch,
    })
}

macro_rules! golden {
    ($($name:ident: $pod:expr;)*) => {
        $(#[test] fn $name() { insta::with_settings!({ omit_expression => true }, {
                insta::assert_yaml_snapshot!(stringify!($name), verdict(&$pod));
            }); })*
    };
}

golden! {
    a_plain_pod: pod(&json!({"mbcas.budget": "600"}), &json!({"containers": [burstable()]}));
    no_annotations_at_all: {
        let mut pod = pod(&Value::Null, &json!({"containers": [burstable()]}));
        pod["metadata"].as_object_mut().unwrap().remove("annotations");
        pod
    };
    no_limit_and_a_cap: pod(
        &json!({"mbcas.maxCPU": "1500m", "mbcas.minCPU": "100m"}),
        &json!({"containers": [app(&json!({"requests": {"cpu": "250m"}}))]}));
    no_limit_and_no_cap: pod(&json!({}), &json!({"containers": [app(&json!({"requests": {"cpu": "250m"}, "limits": {"memory": "1Gi"}}))]}));
    second_container_with_its_own_metrics: pod(
        &json!({"mbcas.container": "app", "mbcas.metrics": "http://localhost:8080/metrics#app_queue_depth"}),
        &json!({
            "containers": [{"name": "proxy", "image": "proxy:1"}, burstable()],
            "initContainers": [{"name": "migrate", "image": "migrate:1"}],
            "volumes": [{"name": "data", "emptyDir": {}}],
        }));
    guaranteed: pod(&json!({"mbcas.budget": "600"}), &json!({"containers": [
        app(&json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}))]}));
    best_effort: pod(&json!({"mbcas.budget": "600"}), &json!({"containers": [app(&json!({}))]}));
    no_cpu_request: pod(&json!({}), &json!({"containers": [app(&json!({"requests": {"memory": "64Mi"}}))]}));
    opted_out_with_forged_record: pod(
        &json!({"mbcas.enabled": "false", "mbcas.dev/original": "{}", "mbcas.dev/injection": "injected"}),
        &json!({"containers": [burstable()]}));
    host_network_without_limit: pod(&json!({}), &json!({"hostNetwork": true, "containers": [app(&json!({"requests": {"cpu": "250m"}}))]}));
    windows_by_node_selector: pod(&json!({}), &json!({"nodeSelector": {"kubernetes.io/os": "windows"}, "containers": [burstable()]}));
    windows_by_os: pod(&json!({}), &json!({"os": {"name": "windows"}, "containers": [burstable()]}));
    agent_none: pod(&json!({"mbcas.agent": "none"}), &json!({"containers": [burstable()]}));
    restarted_by_a_resize: pod(&json!({}), &json!({"containers": [{
        "name": "app", "image": "app:1", "resources": {"requests": {"cpu": "250m"}},
        "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}],
    }]}));
    pod_level_resources: pod(&json!({}), &json!({"resources": {"requests": {"cpu": "1"}}, "containers": [burstable()]}));
    a_port_of_ours: pod(&json!({}), &json!({"containers": [
        burstable(), {"name": "side", "image": "side:1", "ports": [{"containerPort": 9465}]}]}));
    a_name_of_ours: pod(&json!({}), &json!({"containers": [burstable()], "volumes": [{"name": "mbcas-no-token", "emptyDir": {}}]}));
    bare: {
        let mut pod = pod(&json!({"mbcas.budget": "600"}), &json!({"containers": [burstable()]}));
        pod["metadata"].as_object_mut().unwrap().remove("ownerReferences");
        pod
    };
    bare_and_opted_in: {
        let mut pod = pod(&json!({"mbcas.enabled": "true"}), &json!({"containers": [burstable()]}));
        pod["metadata"].as_object_mut().unwrap().remove("ownerReferences");
        pod
    };
    a_static_pods_mirror: pod(&json!({"kubernetes.io/config.mirror": "h", "mbcas.budget": "600"}), &json!({"containers": [burstable()]}));
    malformed_and_opted_out: pod(
        &json!({"mbcas.enabled": "false", "mbcas.budget": "lots", "mbcas.bugdet": "1", "mbcas.maxCPU": "9m"}),
        &json!({"containers": [burstable()]}));
    no_such_container: pod(&json!({"mbcas.container": "web"}), &json!({"containers": [burstable()]}));
    cap_below_the_request: pod(&json!({"mbcas.maxCPU": "200m"}), &json!({"containers": [burstable()]}));
}
