//! Does admission work: a bad pod and a good one go through the API server, as dry runs.
//!
//! The whole way is tried: the API server finds the webhook's Service, trusts
//! its certificate, and takes its patch. Nothing is started.

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, PostParams};
use mbcas_api::names::{AGENT_CONTAINER, INJECTION_ANNOTATION, INJECTION_LABEL, WEBHOOK_NAME};
use serde_json::json;

use super::Row;
use crate::output;

/// What begins a refusal by the policy inside the API server.
const POLICY: &str = "ValidatingAdmissionPolicy 'mbcas-annotations'";

/// Sends both pods to `namespace`, once.
pub async fn admission(client: &Client, namespace: &str) -> Vec<Row> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    vec![
        refusal(pods.create(&params, &pod("lots")).await, namespace),
        injection(pods.create(&params, &pod("100")).await, namespace),
    ]
}

/// A pod that takes part, but for what its budget says; it passes Pod Security *restricted*.
fn pod(budget: &str) -> Pod {
    let pod = json!({
        "metadata": {
            "name": "mbcas-check",
            "annotations": {"mbcas.enabled": "true", "mbcas.budget": budget},
        },
        "spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "app",
                "image": "mbcas.local/never-started",
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "16Mi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    });
    serde_json::from_value(pod).unwrap_or_default()
}

/// Judges the answer to the pod whose budget is malformed.
fn refusal(answer: Result<Pod, kube::Error>, namespace: &str) -> Row {
    let said = match answer {
        Ok(_) => {
            return Row::fail(
                format!("a pod with a malformed budget is let into namespace {namespace}"),
                format!(
                    "neither webhook nor policy saw it: has the namespace the label {INJECTION_LABEL}=enabled, \
                     and are MBCAS's webhook configuration and policy there?"
                ),
            );
        }
        Err(why) => output::words(&why),
    };
    if said.contains(&format!("\"{WEBHOOK_NAME}\" denied")) {
        Row::ok(format!("the webhook refuses a malformed budget: {said}"))
    } else if said.contains(POLICY) {
        Row::fail(
            "a malformed budget is refused by the policy alone: the webhook did not answer",
            "see its pods and their log, and whether the API server can reach them",
        )
    } else {
        Row::fail(
            format!("no pod can be tried in namespace {namespace}"),
            said,
        )
    }
}

/// Judges the answer to the pod whose budget is good.
fn injection(answer: Result<Pod, kube::Error>, namespace: &str) -> Row {
    let pod = match answer {
        Ok(pod) => pod,
        Err(why) => {
            return Row::fail(
                format!("a pod with a good budget is refused in namespace {namespace}"),
                output::words(&why),
            );
        }
    };
    let inits = pod.spec.iter().flat_map(|spec| spec.init_containers.iter());
    if inits.flatten().any(|init| init.name == AGENT_CONTAINER) {
        return Row::ok("the webhook gives a pod its demand agent");
    }
    let annotations = pod.metadata.annotations.unwrap_or_default();
    let hint = annotations.get(INJECTION_ANNOTATION).map_or_else(
        || "the webhook did not answer: see its pods and their log".to_owned(),
        |reason| format!("the webhook says {reason}"),
    );
    Row::fail("a pod that takes part gets no demand agent", hint)
}

#[cfg(test)]
mod tests;
