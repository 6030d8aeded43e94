//! The webhook through its public seams: pods in and verdicts out, and one
//! whole call over TLS.

#![cfg(test)]

mod chart;
mod golden;
mod policies;
mod tls;

use mbcas_webhook::{AgentSpec, Policy};
use serde_json::{Value, json};

fn policy() -> Policy {
    let agent = AgentSpec::usual("registry.example.org/mbcas-demand-agent:1.2.3");
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
