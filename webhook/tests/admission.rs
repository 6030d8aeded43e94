//! The webhook through its public seams: pods in and verdicts out, and one
//! whole call over TLS.

#![cfg(test)]

mod chart;
mod golden;
mod policies;
mod tls;

use mbcas_webhook::{AgentSpec, Policy, PullPolicy};
use serde_json::{Value, json};

fn policy() -> Policy {
    let agent = AgentSpec {
        image: "registry.example.org/mbcas-demand-agent:1.2.3".to_owned(),
        pull_policy: PullPolicy::IfNotPresent,
        cpu_request: "10m".to_owned(),
        cpu_limit: "100m".to_owned(),
        memory_request: "16Mi".to_owned(),
        memory_limit: "32Mi".to_owned(),
    };
    Policy::new(agent, "64").unwrap()
}

/// A pod of a ReplicaSet with these annotations and this spec.
fn pod(annotations: &Value, spec: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "web-5d4f8-",
            "labels": {"app": "web"},
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f8", "uid": "u-1",
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": spec,
    })
}
