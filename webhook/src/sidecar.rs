//! The demand agent's container, and how to know it again.

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use mbcas_api::names::{AGENT_CONTAINER, AGENT_PORT_NAME, AGENT_VOLUME};
use mbcas_core::annotations::Settings;
use mbcas_core::demand::AGENT_PORT;
use serde_json::{Value, json};

use crate::patch::as_json;
use crate::policy::AgentSpec;

/// Where Kubernetes mounts a service account's token. Something else being
/// mounted there is what keeps the API server from doing so.
pub const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The agent's user and group; any number above 10000 that is not root.
const USER: u32 = 65_532;

/// Stands where the name of the container that takes part comes; no image and no quantity contains it.
const SUBJECT: &str = "\u{0}";

/// The sidecar as JSON, written once: of all its fields only the last variables
/// depend on the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// Up to the name of the container that takes part.
    head: String,
    /// From the end of that variable.
    tail: String,
    volume: String,
}

impl Sidecar {
    /// That of `agent`.
    pub fn of(agent: &AgentSpec) -> Self {
        let whole = container(agent, SUBJECT).to_string();
        let (head, tail) = whole
            .split_once(&as_json(SUBJECT))
            .unwrap_or((whole.as_str(), ""));
        Self {
            head: head.to_owned(),
            tail: tail.to_owned(),
            volume: json!({ "name": AGENT_VOLUME, "emptyDir": {} }).to_string(),
        }
    }

    /// The native sidecar for a pod whose container `subject` takes part, and says of itself what `settings` tell.
    pub fn container(&self, subject: &str, settings: &Settings) -> String {
        let mut text = String::with_capacity(self.head.len() + self.tail.len() + 256);
        text.push_str(&self.head);
        text.push_str(&as_json(subject));
        // More variables, before the end of the list.
        if let Some(app) = &settings.metrics {
            text.push_str(r#"},{"name":"MBCAS_APP_METRICS","value":"#);
            text.push_str(&as_json(&app.to_string()));
        }
        if let Some(slo) = settings.slo {
            text.push_str(r#"},{"name":"MBCAS_APP_SLO","value":"#);
            text.push_str(&as_json(&slo.to_string()));
        }
        text.push_str(&self.tail);
        text
    }

    /// The empty volume that takes the token's place.
    pub fn volume(&self) -> &str {
        &self.volume
    }
}

/// What of a pod stands in the way of a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    /// A container or a volume of another kind has the agent's name.
    Name,
    /// A container says that it listens on the agent's port.
    Port,
}

/// The container for a pod whose container `subject` takes part.
///
/// No probes: the agent must never make an application unready. The security
/// context is what Pod Security *restricted* asks for.
fn container(agent: &AgentSpec, subject: &str) -> Value {
    let field = |path: &str| json!({ "fieldRef": { "apiVersion": "v1", "fieldPath": path } });
    // The subject's is the last: what depends on the pod begins there.
    let env = [
        json!({ "name": "MBCAS_NAMESPACE", "valueFrom": field("metadata.namespace") }),
        json!({ "name": "MBCAS_POD", "valueFrom": field("metadata.name") }),
        json!({ "name": "MBCAS_CONTAINER", "value": subject }),
    ];
    json!({
        "name": AGENT_CONTAINER,
        "image": agent.image,
        "imagePullPolicy": agent.pull_policy.name(),
        "restartPolicy": "Always",
        "env": env,
        "ports": [{ "name": AGENT_PORT_NAME, "containerPort": AGENT_PORT, "protocol": "TCP" }],
        "resources": {
            "requests": { "cpu": agent.cpu_request, "memory": agent.memory_request },
            "limits": { "cpu": agent.cpu_limit, "memory": agent.memory_limit },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsGroup": USER,
            "runAsNonRoot": true,
            "runAsUser": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{ "name": AGENT_VOLUME, "mountPath": TOKEN_PATH, "readOnly": true }],
    })
}

/// Whether a container is one that we injected earlier: it has the shape that
/// ours has, whatever the API server and other webhooks have added since.
pub fn is_ours(container: &Container, agent: &AgentSpec) -> bool {
    let port = container.ports.iter().flatten().any(|p| {
        p.name.as_deref() == Some(AGENT_PORT_NAME) && p.container_port == i32::from(AGENT_PORT)
    });
    let mount = container
        .volume_mounts
        .iter()
        .flatten()
        .any(|m| m.name == AGENT_VOLUME && m.mount_path == TOKEN_PATH);
    let image = container.image.as_deref().map(repository) == Some(repository(&agent.image));
    let native = container.restart_policy.as_deref() == Some("Always");
    container.name == AGENT_CONTAINER && native && port && mount && image
}

/// An image's name without tag and digest: replicas of two versions know each other's sidecars again.
fn repository(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    match name.rfind(':') {
        Some(colon) if !name[colon..].contains('/') => &name[..colon],
        _ => name,
    }
}

/// The sidecar of ours that the pod already has.
pub fn find<'a>(spec: &'a PodSpec, agent: &AgentSpec) -> Option<&'a Container> {
    spec.init_containers
        .iter()
        .flatten()
        .find(|container| is_ours(container, agent))
}

/// What keeps a sidecar out of a pod that has none of ours.
pub fn clash(spec: &PodSpec) -> Option<Clash> {
    let containers = || {
        spec.init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
    };
    let volumes = spec.volumes.iter().flatten();
    if containers().any(|c| c.name == AGENT_CONTAINER)
        || volumes.into_iter().any(|v: &Volume| v.name == AGENT_VOLUME)
    {
        return Some(Clash::Name);
    }
    let mut ports = containers().flat_map(|container| container.ports.iter().flatten());
    ports
        .any(|port| port.container_port == i32::from(AGENT_PORT))
        .then_some(Clash::Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_the_pod_is_written_into_the_rest() {
        let sidecar = Sidecar::of(&AgentSpec::usual("example/agent:1"));
        let app = "http://localhost:8080/metrics#queue=depth&latency=p99";
        let of = |metrics: Option<&str>, slo: Option<&str>| Settings {
            metrics: metrics.map(|text| text.parse().unwrap()),
            slo: slo.map(|text| text.parse().unwrap()),
            ..Settings::default()
        };
        let read = |subject: &str, settings: &Settings| -> Container {
            serde_json::from_str(&sidecar.container(subject, settings)).unwrap()
        };
        let variable = |container: &Container, name: &str| {
            let mut env = container.env.iter().flatten();
            env.find(|variable| variable.name == name)
                .and_then(|variable| variable.value.clone())
        };
        for subject in ["app", "a\"\\b\n"] {
            let plain = read(subject, &of(None, None));
            assert_eq!(
                variable(&plain, "MBCAS_CONTAINER").as_deref(),
                Some(subject)
            );
            assert_eq!(variable(&plain, "MBCAS_APP_METRICS"), None);
            assert_eq!(variable(&plain, "MBCAS_APP_SLO"), None);
            let mut timed = read(subject, &of(Some(app), Some("2s")));
            assert_eq!(variable(&timed, "MBCAS_APP_METRICS").as_deref(), Some(app));
            assert_eq!(variable(&timed, "MBCAS_APP_SLO").as_deref(), Some("2000ms"));
            timed.env.as_mut().unwrap().pop();
            assert_eq!(timed, read(subject, &of(Some(app), None)));
            timed.env.as_mut().unwrap().pop();
            assert_eq!(timed, plain);
            assert!(is_ours(&plain, &AgentSpec::usual("example/agent:2")));
        }
    }

    #[test]
    fn an_image_is_known_by_its_repository() {
        for (image, name) in [
            ("a/b", "a/b"),
            ("a/b:1", "a/b"),
            ("host:5000/a/b", "host:5000/a/b"),
            ("host:5000/a/b:1", "host:5000/a/b"),
            ("host:5000/a/b:1@sha256:00", "host:5000/a/b"),
        ] {
            assert_eq!(repository(image), name);
        }
    }
}
