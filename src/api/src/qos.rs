//! The QoS class of a pod with a given spec, as the API server will give it.
//!
//! Admission asks whether a sidecar would change it, the actuator whether a resize would.
//!
//! The rules are Kubernetes' own (`pkg/apis/core/v1/helper/qos`): init
//! containers count, only CPU and memory count, zero counts as absent, and a
//! limit without a request stands for both.

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use mbcas_core::quantity::Quantity;

/// A pod's quality of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qos {
    /// Every container has CPU and memory limits equal to its requests.
    Guaranteed,
    /// Something in between.
    Burstable,
    /// No container has any CPU or memory request or limit.
    BestEffort,
}

impl Qos {
    /// The class that `status.qosClass` names.
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "Guaranteed" => Some(Self::Guaranteed),
            "Burstable" => Some(Self::Burstable),
            "BestEffort" => Some(Self::BestEffort),
            _ => None,
        }
    }

    /// The class of a pod with this spec. Resources of the pod as a whole decide alone where there are any.
    pub fn of(spec: &PodSpec) -> Self {
        let containers = spec
            .init_containers
            .iter()
            .flatten()
            .chain(&spec.containers);
        Self::of_parts(spec, containers)
    }

    /// As [`Self::of`], as if the pod had exactly these containers.
    pub fn of_parts<'a>(spec: &PodSpec, containers: impl Iterator<Item = &'a Container>) -> Self {
        let parts: Vec<_> = match &spec.resources {
            Some(pod) if has_any(pod) => vec![Some(pod)],
            _ => containers
                .map(|container| container.resources.as_ref())
                .collect(),
        };
        if !parts.iter().flatten().any(|part| has_any(part)) {
            Self::BestEffort
        } else if parts.iter().all(|part| part.is_some_and(is_exact)) {
            Self::Guaranteed
        } else {
            Self::Burstable
        }
    }
}

const COUNTED: [&str; 2] = ["cpu", "memory"];

fn has_any(part: &ResourceRequirements) -> bool {
    COUNTED.iter().any(|name| request(part, name).is_some())
}

/// CPU and memory are both limited, each to exactly what is requested.
fn is_exact(part: &ResourceRequirements) -> bool {
    COUNTED
        .iter()
        .all(|name| limit(part, name).is_some_and(|limit| request(part, name) == Some(limit)))
}

fn limit(part: &ResourceRequirements, name: &str) -> Option<Quantity> {
    positive(&part.limits.as_ref()?.get(name)?.0)
}

fn request(part: &ResourceRequirements, name: &str) -> Option<Quantity> {
    match part
        .requests
        .as_ref()
        .and_then(|requests| requests.get(name))
    {
        Some(quantity) => positive(&quantity.0),
        None => limit(part, name),
    }
}

fn positive(text: &str) -> Option<Quantity> {
    let quantity = Quantity::parse(text).ok()?;
    (Quantity::parse("0").ok().as_ref() != Some(&quantity)).then_some(quantity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn class(spec: serde_json::Value) -> Qos {
        Qos::of(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn a_class_has_the_name_in_the_status() {
        for class in [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort] {
            assert_eq!(Qos::of_name(&format!("{class:?}")), Some(class));
        }
        assert_eq!(Qos::of_name("Other"), None);
    }

    #[test]
    fn the_class_follows_kubernetes_rules() {
        let exact = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1024Mi"}});
        let container =
            |resources: &serde_json::Value| json!({"name": "a", "resources": resources});
        let of = |parts: &[serde_json::Value]| {
            class(json!({"containers": parts.iter().map(container).collect::<Vec<_>>()}))
        };
        let cases = [
            (vec![json!({})], Qos::BestEffort),
            (vec![json!({"requests": {"cpu": "0"}})], Qos::BestEffort),
            (
                vec![json!({"requests": {"ephemeral-storage": "1Gi"}})],
                Qos::BestEffort,
            ),
            (vec![exact.clone()], Qos::Guaranteed),
            (
                vec![json!({"limits": {"cpu": "1", "memory": "1Gi"}})],
                Qos::Guaranteed,
            ),
            (vec![json!({"limits": {"cpu": "1"}})], Qos::Burstable),
            (vec![json!({"requests": {"cpu": "100m"}})], Qos::Burstable),
            (vec![exact.clone(), json!({})], Qos::Burstable),
            (vec![exact.clone(), exact.clone()], Qos::Guaranteed),
            (
                vec![
                    json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}}),
                ],
                Qos::Burstable,
            ),
        ];
        for (parts, expected) in cases {
            assert_eq!(of(&parts), expected, "{parts:?}");
        }
        assert_eq!(
            class(json!({"containers": [container(&exact)], "initContainers": [{"name": "i"}]})),
            Qos::Burstable
        );
        assert_eq!(
            class(json!({"containers": [], "initContainers": [container(&exact)]})),
            Qos::Guaranteed
        );
        assert_eq!(
            class(json!({"containers": [{"name": "a"}], "resources": exact})),
            Qos::Guaranteed
        );
        assert_eq!(
            class(json!({"containers": [container(&exact)], "resources": {}})),
            Qos::Guaranteed
        );
    }
}
