//! Other autoscalers of the same workloads, and what follows for us.
//!
//! | it | does | so MBCAS |
//! | --- | --- | --- |
//! | a VerticalPodAutoscaler in an acting mode, on CPU | sets requests and limits | only recommends |
//! | a HorizontalPodAutoscaler on CPU | counts use per request | may set limits, and says that they can hide load; never requests |
//!
//! `Off` and `Initial` leave running pods alone, so they are in nobody's way.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, MetricSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::CustomResource;
use mbcas_core::ContainerId;
use serde::{Deserialize, Serialize};

use crate::cluster::{View, Watched, Workload, key, within};
use crate::discover::Discovery;

/// What the loop keeps of a HorizontalPodAutoscaler that scales on CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HorizontalView {
    /// Which one, and not one of the same name later.
    pub uid: String,
    /// What it scales.
    pub target: Workload,
}

/// What the loop keeps of a VerticalPodAutoscaler that acts on running pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerticalView {
    /// Which one, and not one of the same name later.
    pub uid: String,
    /// What it sizes.
    pub target: Workload,
    /// Whether it sets the CPU of a container, by the container's name; `*` for all others.
    sets_cpu: BTreeMap<String, bool>,
}

impl VerticalView {
    /// Whether it sets the CPU of `container`.
    pub fn sets_cpu_of(&self, container: &str) -> bool {
        let said = self.sets_cpu.get(container);
        *said.or_else(|| self.sets_cpu.get("*")).unwrap_or(&true)
    }
}

/// A VerticalPodAutoscaler, as far as it is read.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize)]
#[kube(
    group = "autoscaling.k8s.io",
    version = "v1",
    kind = "VerticalPodAutoscaler",
    namespaced,
    schema = "disabled",
    doc = "A VerticalPodAutoscaler, as far as it is read."
)]
#[serde(rename_all = "camelCase")]
pub struct VerticalPodAutoscalerSpec {
    target_ref: Option<Target>,
    update_policy: Option<UpdatePolicy>,
    resource_policy: Option<ResourcePolicy>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Target {
    kind: String,
    name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpdatePolicy {
    update_mode: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourcePolicy {
    container_policies: Option<Vec<ContainerPolicy>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerPolicy {
    container_name: Option<String>,
    mode: Option<String>,
    controlled_resources: Option<Vec<String>>,
}

impl ContainerPolicy {
    fn sets_cpu(&self) -> bool {
        let controlled = self.controlled_resources.as_ref();
        self.mode.as_deref() != Some("Off")
            && controlled.is_none_or(|names| names.iter().any(|name| name == "cpu"))
    }
}

impl VerticalPodAutoscaler {
    /// What is needed of one that acts on running pods. A mode that is not known here counts as acting.
    fn acting(&self) -> Option<VerticalView> {
        let mode = self.spec.update_policy.as_ref();
        let mode = mode.and_then(|policy| policy.update_mode.as_deref());
        if matches!(mode, Some("Off" | "Initial")) {
            return None;
        }
        let target = self.spec.target_ref.as_ref()?;
        let policies = self.spec.resource_policy.as_ref();
        let policies = policies.and_then(|policy| policy.container_policies.as_deref());
        let sets_cpu = policies.unwrap_or_default().iter().filter_map(|policy| {
            let name = policy.container_name.clone()?;
            Some((name, policy.sets_cpu()))
        });
        Some(VerticalView {
            uid: self.metadata.uid.clone().unwrap_or_default(),
            target: Workload {
                kind: target.kind.clone(),
                name: target.name.clone(),
            },
            sets_cpu: sets_cpu.collect(),
        })
    }
}

impl Watched for VerticalPodAutoscaler {
    const IS_OPTIONAL: bool = true;

    fn keep(self, view: &mut View) {
        match self.acting() {
            Some(acting) => drop(view.vertical.insert(key(&self.metadata), acting)),
            None => Self::forget(&self.metadata, view),
        }
    }

    fn forget(meta: &ObjectMeta, view: &mut View) {
        view.vertical.remove(&key(meta));
    }

    fn swap(view: &mut View, listed: View) {
        view.vertical = listed.vertical;
    }
}

/// Whether a metric is CPU, of the pod or of one container.
fn is_cpu(metric: &MetricSpec) -> bool {
    let pod = metric.resource.as_ref().map(|source| &source.name);
    let container = metric.container_resource.as_ref();
    [pod, container.map(|source| &source.name)]
        .into_iter()
        .flatten()
        .any(|name| name == "cpu")
}

impl Watched for HorizontalPodAutoscaler {
    const IS_OPTIONAL: bool = true;

    fn keep(self, view: &mut View) {
        let on_cpu = self.spec.as_ref().filter(|spec| {
            // The API server fills in CPU where there are no metrics.
            let metrics = spec.metrics.as_deref().unwrap_or_default();
            metrics.is_empty() || metrics.iter().any(is_cpu)
        });
        let Some(spec) = on_cpu else {
            Self::forget(&self.metadata, view);
            return;
        };
        let horizontal = HorizontalView {
            uid: self.metadata.uid.clone().unwrap_or_default(),
            target: Workload {
                kind: spec.scale_target_ref.kind.clone(),
                name: spec.scale_target_ref.name.clone(),
            },
        };
        view.horizontal.insert(key(&self.metadata), horizontal);
    }

    fn forget(meta: &ObjectMeta, view: &mut View) {
        view.horizontal.remove(&key(meta));
    }

    fn swap(view: &mut View, listed: View) {
        view.horizontal = listed.horizontal;
    }
}

/// Participants that other autoscalers act on too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encounters {
    /// Whose CPU a VerticalPodAutoscaler sets.
    pub vertical: BTreeSet<ContainerId>,
    /// Which a HorizontalPodAutoscaler counts by CPU: their requests are not to be changed.
    pub horizontal: BTreeSet<ContainerId>,
    /// The autoscalers that were met.
    pub met: BTreeSet<Met>,
}

/// An autoscaler that acts on a participant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Met {
    /// Which kind.
    pub kind: MetKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which one, and not one of the same name later.
    pub uid: String,
}

/// The kinds of autoscalers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetKind {
    /// A HorizontalPodAutoscaler.
    Horizontal,
    /// A VerticalPodAutoscaler.
    Vertical,
}

/// Which of the participants other autoscalers act on too.
pub fn encounters(view: &View, discovery: &Discovery) -> Encounters {
    let mut found = Encounters::default();
    for id in discovery.participants.keys() {
        let pod = view.pods.get(&id.pod.uid);
        let Some(workload) = pod.and_then(|pod| pod.template.workload.as_ref()) else {
            continue;
        };
        let namespace = &id.pod.namespace;
        let met = |kind, name: &str, uid: &str| Met {
            kind,
            namespace: namespace.clone(),
            name: name.to_owned(),
            uid: uid.to_owned(),
        };
        for (name, vertical) in within(&view.vertical, namespace) {
            if vertical.target == *workload && vertical.sets_cpu_of(&id.container) {
                found.vertical.insert(id.clone());
                let met = met(MetKind::Vertical, name, &vertical.uid);
                found.met.insert(met);
            }
        }
        for (name, horizontal) in within(&view.horizontal, namespace) {
            if horizontal.target == *workload {
                found.horizontal.insert(id.clone());
                let met = met(MetKind::Horizontal, name, &horizontal.uid);
                found.met.insert(met);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
