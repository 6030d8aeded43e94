//! Keeping the agent's port out of a mesh's proxy.
//!
//! Under strict mTLS the proxy refuses the controller's plain request for
//! `/demand`. Istio and Linkerd each read an annotation with the ports that
//! their proxy leaves alone, and the agent's port is appended to it.
//!
//! Appended only, never begun: the annotation on a pod *replaces* the lists that
//! stand behind it, Linkerd's per namespace and both meshes' own, and nothing in
//! a review shows those. A pod without the annotation would lose what its
//! operator excluded (Linkerd ships with Galera's ports). Such a pod takes part
//! on evidence alone where mTLS is strict, until its author writes the
//! annotation, empty if need be, or its operator adds the port to the mesh's list.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodSpec;
use mbcas_core::demand::AGENT_PORT;

/// Istio's annotation: single ports.
pub const ISTIO_PORTS: &str = "traffic.sidecar.istio.io/excludeInboundPorts";
/// Linkerd's annotation: ports and ranges.
pub const LINKERD_PORTS: &str = "config.linkerd.io/skip-inbound-ports";

/// Each mesh's annotation, and the init container that carries it out: where
/// that is there, it was given its list already.
const MESHES: [(&str, &str); 2] = [(ISTIO_PORTS, "istio-init"), (LINKERD_PORTS, "linkerd-init")];

/// The annotations of a pod that gets an agent, as they are to be.
pub fn exclusions(
    annotations: &BTreeMap<String, String>,
    spec: &PodSpec,
) -> Vec<(&'static str, String)> {
    let has_init = |name: &str| {
        spec.init_containers
            .iter()
            .flatten()
            .any(|container| container.name == name)
    };
    MESHES
        .iter()
        .filter(|(_, init)| !has_init(init))
        .filter_map(|(key, _)| Some((*key, with_agent(annotations.get(*key)?)?)))
        .collect()
}

/// The list with the agent's port; absent if it has it.
fn with_agent(ports: &str) -> Option<String> {
    let ports = ports.trim_end_matches([',', ' ']);
    if ports.is_empty() {
        return Some(AGENT_PORT.to_string());
    }
    let holds = |entry: &str| {
        let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
        let port = |text: &str| text.trim().parse::<u16>().ok();
        entry.trim() == "*"
            || matches!((port(first), port(last)), (Some(first), Some(last)) if (first..=last).contains(&AGENT_PORT))
    };
    (!ports.split(',').any(holds)).then(|| format!("{ports},{AGENT_PORT}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_appended_once() {
        for (before, after) in [
            ("", "9465"),
            (" , ", "9465"),
            ("80", "80,9465"),
            ("80, 443,", "80, 443,9465"),
            ("9464-9464", "9464-9464,9465"),
            ("web,94650,19465", "web,94650,19465,9465"),
        ] {
            assert_eq!(with_agent(before).as_deref(), Some(after), "{before:?}");
            assert_eq!(with_agent(after), None, "{after:?}");
        }
        for held in ["9465", "80, 9465 ,90", "9000-9999", "80,9465-9465", "*"] {
            assert_eq!(with_agent(held), None, "{held:?}");
        }
    }
}
