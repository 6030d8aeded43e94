//! Pods to test with.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::environment::Image;

/// The image, the same for the whole run, whatever is built meanwhile.
fn image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| Image::built("mbcas").reference())
}

/// A workload of one container, `app`, from the image `mbcas`. It ends at
/// once when told to, and passes Pod Security *restricted*.
#[derive(Clone, Debug)]
pub(crate) struct Lab {
    pub(crate) name: String,
    command: Vec<String>,
    annotations: BTreeMap<String, String>,
    resources: Value,
}

impl Lab {
    /// A server on port 8080 with its health on 8081.
    pub(crate) fn serve(name: &str, words: &[&str]) -> Self {
        Self::new(name, "serve", words)
    }

    /// A container that burns what it gets.
    pub(crate) fn burn(name: &str, threads: u32) -> Self {
        Self::new(name, "burn", &["--threads", &threads.to_string()])
    }

    /// One that requests much of the node, uses nothing of it and takes no part. What is left for the market is less than
    /// two who burn get on a machine that is busy with other things, so limits are due.
    pub(crate) fn bystander() -> Self {
        let idle = Self::serve("bystander", &[]).request("300m");
        idle.annotate("mbcas.enabled", "false")
    }

    fn new(name: &str, verb: &str, words: &[&str]) -> Self {
        let command = ["/bin/mbcas-lab", verb]
            .into_iter()
            .chain(words.iter().copied());
        Self {
            name: name.to_owned(),
            command: command.map(str::to_owned).collect(),
            annotations: BTreeMap::new(),
            resources: json!({}),
        }
    }

    /// The same with an annotation more.
    pub(crate) fn annotate(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The same with this CPU request.
    pub(crate) fn request(mut self, cpu: &str) -> Self {
        self.resources["requests"] = json!({ "cpu": cpu });
        self
    }

    /// The same with this CPU limit.
    pub(crate) fn limit(mut self, cpu: &str) -> Self {
        self.resources["limits"] = json!({ "cpu": cpu });
        self
    }

    fn spec(&self) -> Value {
        let serves = self.command.iter().any(|word| word == "serve");
        let probe = json!({"httpGet": {"path": "/healthz", "port": 8081}, "periodSeconds": 1});
        json!({
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "app",
                "image": image(),
                "imagePullPolicy": "IfNotPresent",
                "command": self.command,
                "resources": self.resources,
                "readinessProbe": serves.then_some(probe),
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        })
    }

    /// As a pod without a controller, exactly as annotated.
    pub(crate) fn bare_pod(&self) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": self.name, "annotations": self.annotations},
            "spec": self.spec(),
        }))
        .unwrap()
    }

    /// As a pod that takes part: one without a controller has to say so.
    pub(crate) fn pod(&self) -> Pod {
        let mut lab = self.clone();
        let said = lab.annotations.entry("mbcas.enabled".to_owned());
        said.or_insert_with(|| "true".to_owned());
        lab.bare_pod()
    }

    /// As a Deployment of one replica.
    pub(crate) fn deployment(&self) -> Deployment {
        let labels = json!({"app": self.name});
        serde_json::from_value(json!({
            "metadata": {"name": self.name},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels, "annotations": self.annotations},
                    "spec": self.spec(),
                },
            },
        }))
        .unwrap()
    }
}
