//! Others who move a pod's CPU, or count with it.
//!
//! MBCAS is the only automatic writer or none: a pod whose resources another
//! controller sets is left to that one, and a HorizontalPodAutoscaler that
//! divides usage by *requests* must not have the requests moved under it.

use std::fmt;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::ownership::Ownership;
use crate::request::{ResizePolicy, Resource};

/// The label of Google's kube-startup-cpu-boost on pods that it has raised.
const STARTUP_BOOST: &str = "autoscaling.x-k8s.io/startup-cpu-boost";

/// Whom an autoscaler is about: kind and name of a workload, in the autoscaler's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its kind, such as `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Somebody else at the same pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rival {
    /// A VerticalPodAutoscaler that acts.
    Vpa(String),
    /// A HorizontalPodAutoscaler on CPU utilisation, which is usage over request.
    HpaOnUtilisation(String),
    /// kube-startup-cpu-boost has raised the pod and will set it back.
    StartupBoost,
    /// A field manager that wrote CPU amounts through `resize`.
    Resizer(String),
}

/// What a rival means for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consequence {
    /// Write, and say that it is there: throttling lowers usage, and so hides load from it.
    Warn,
    /// Write nothing.
    Leave,
}

impl Rival {
    /// A word for metrics, from a closed set.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Vpa(_) => "vpa",
            Self::HpaOnUtilisation(_) => "hpa",
            Self::StartupBoost => "startup_boost",
            Self::Resizer(_) => "resizer",
        }
    }

    /// What it means for a writer that changes what `policy` says.
    pub const fn consequence(&self, policy: ResizePolicy) -> Consequence {
        match (self, policy) {
            (Self::HpaOnUtilisation(_), ResizePolicy::Limits) => Consequence::Warn,
            _ => Consequence::Leave,
        }
    }
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vpa(name) => write!(f, "VerticalPodAutoscaler {name} sets its resources"),
            Self::HpaOnUtilisation(name) => write!(
                f,
                "HorizontalPodAutoscaler {name} measures its CPU usage against its request"
            ),
            Self::StartupBoost => f.write_str("kube-startup-cpu-boost has raised it for its start"),
            Self::Resizer(name) => write!(f, "{name} has resized it"),
        }
    }
}

/// The rivals that `pod` itself tells of; `manager` is our own name.
pub fn on_pod(pod: &Pod, manager: &str) -> Vec<Rival> {
    let mut rivals = Vec::new();
    let annotations = pod.metadata.annotations.as_ref();
    let labels = pod.metadata.labels.as_ref();
    let labelled = labels.is_some_and(|labels| labels.contains_key(STARTUP_BOOST));
    let state = annotations.and_then(|annotations| annotations.get(STARTUP_BOOST));
    // It keeps its annotation after the boost, and says in it that the boost is over.
    let active = state.map(|state| serde_json::from_str::<Value>(state).unwrap_or_default());
    let active = active.map_or(labelled, |state| {
        !matches!(state["state"].as_str(), Some("Reverted" | "Infeasible"))
    });
    if active {
        rivals.push(Rival::StartupBoost);
    }
    let owners = Ownership::of(pod, manager);
    let cpu = owners.resizers.into_iter();
    let cpu = cpu.filter(|(_, field)| field.resource == Resource::Cpu);
    rivals.extend(cpu.map(|(name, _)| Rival::Resizer(name)));
    rivals.sort();
    rivals.dedup();
    rivals
}

/// The workload that `hpa` scales and what it is to us; absent if it does not look at CPU utilisation.
pub fn of_hpa(hpa: &HorizontalPodAutoscaler) -> Option<(Workload, Rival)> {
    let spec = hpa.spec.as_ref()?;
    let metrics = spec.metrics.as_deref().unwrap_or_default();
    let on_utilisation = |name: &str, target: &k8s_openapi::api::autoscaling::v2::MetricTarget| {
        name == "cpu" && target.type_ == "Utilization"
    };
    let looks = metrics.iter().any(|metric| {
        let whole = metric.resource.as_ref();
        let one = metric.container_resource.as_ref();
        whole.is_some_and(|m| on_utilisation(&m.name, &m.target))
            || one.is_some_and(|m| on_utilisation(&m.name, &m.target))
    });
    // Without metrics the API server's default is 80 % of CPU utilisation.
    let looks = looks || metrics.is_empty();
    let workload = Workload {
        namespace: hpa.metadata.namespace.clone()?,
        kind: spec.scale_target_ref.kind.clone(),
        name: spec.scale_target_ref.name.clone(),
    };
    let name = hpa.metadata.name.clone()?;
    looks.then_some((workload, Rival::HpaOnUtilisation(name)))
}

/// The workload that `vpa` (an object of `autoscaling.k8s.io/v1`) is about, and what it
/// is to us; absent if it only recommends.
pub fn of_vpa(vpa: &Value) -> Option<(Workload, Rival)> {
    let text = |path: &str| vpa.pointer(path).and_then(Value::as_str).map(str::to_owned);
    // Without a mode it acts: the default is Recreate, Auto in older versions.
    if text("/spec/updatePolicy/updateMode").as_deref() == Some("Off") {
        return None;
    }
    let workload = Workload {
        namespace: text("/metadata/namespace")?,
        kind: text("/spec/targetRef/kind")?,
        name: text("/spec/targetRef/name")?,
    };
    let policies = vpa.pointer("/spec/resourcePolicy/containerPolicies");
    let policies = policies.and_then(Value::as_array);
    // One that is told to leave all containers, or their CPU, alone is no rival.
    let everywhere = policies
        .into_iter()
        .flatten()
        .find(|p| p["containerName"] == "*");
    let idle = everywhere.is_some_and(|policy| {
        let resources = policy["controlledResources"].as_array();
        policy["mode"] == "Off" || resources.is_some_and(|r| r.iter().all(|name| name != "cpu"))
    });
    let alone = policies.is_none_or(|policies| policies.len() == 1);
    (!(idle && alone)).then_some((workload, Rival::Vpa(text("/metadata/name")?)))
}

#[cfg(test)]
mod tests;
