//! What restoring a pod means, decided from the pod alone: by its record of what it had before MBCAS.
//!
//! `mbcas restore` and the controller, which lets pods go that take part no more, ask here.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use mbcas_api::original::{Original, OriginalCpu, OriginalError};
use mbcas_core::quantity::{Quantity, QuantityError};
use mbcas_core::units::MilliCpu;
use thiserror::Error;

use crate::ownership::{Field, Ownership};
use crate::plan::ResizePlan;
use crate::request::{ResizePolicy, ResizeRequest, Resource, Side};

/// One container that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub container: String,
    /// The limit to set; absent where it is right already.
    pub limit: Option<Quantity>,
    /// The request to set; absent where it is right already.
    pub request: Option<Quantity>,
    /// There was no limit, and a limit cannot be removed: it is raised to what the node has.
    pub had_no_limit: bool,
}

/// Why it cannot be said what restoring a pod means.
#[derive(Debug, Error)]
pub enum Obstacle {
    /// The record is unreadable.
    #[error(transparent)]
    Record(#[from] OriginalError),
    /// There is none.
    #[error("its original resources are not recorded")]
    NoRecord,
    /// An amount in the record, or in the pod, is no quantity.
    #[error("the CPU amount {text:?} of container {container} is unreadable: {source}")]
    Amount {
        /// The container.
        container: String,
        /// The amount as it stands there.
        text: String,
        /// What is wrong with it.
        source: QuantityError,
    },
    /// A container had no limit, and what its node has is not known.
    #[error(
        "container {container} had no limit, and what its node {node:?} could give it is unknown"
    )]
    NoAllocatable {
        /// The container.
        container: String,
        /// The node; empty where the pod has none.
        node: String,
    },
}

/// The steps that restore `pod`; none if it is as it was. `allocatable` is what the nodes have.
///
/// # Errors
/// [`Obstacle`]; then nothing of the pod is restored, rather than half of it.
pub fn decide(pod: &Pod, allocatable: &BTreeMap<String, MilliCpu>) -> Result<Vec<Step>, Obstacle> {
    let original = Original::on(pod)?.ok_or(Obstacle::NoRecord)?;
    let spec = pod.spec.as_ref();
    let node = spec
        .and_then(|s| s.node_name.as_deref())
        .unwrap_or_default();
    let containers = spec.map(|s| s.containers.as_slice()).unwrap_or_default();
    let mut steps = Vec::new();
    for container in containers {
        if let Some(before) = original.containers.get(&container.name) {
            steps.extend(step(container, before, node, allocatable)?);
        }
    }
    Ok(steps)
}

/// As [`decide`], of that only what `manager` itself has set by resizes: what somebody else has set since is his.
///
/// # Errors
/// As [`decide`].
pub fn decide_own(
    pod: &Pod,
    allocatable: &BTreeMap<String, MilliCpu>,
    manager: &str,
) -> Result<Vec<Step>, Obstacle> {
    let steps = decide(pod, allocatable)?;
    if steps.is_empty() {
        return Ok(steps);
    }
    let ours = Ownership::of(pod, manager).ours;
    let own = |step: Step| {
        let is_ours = |side| {
            ours.contains(&Field {
                init: false,
                container: step.container.clone(),
                side,
                resource: Resource::Cpu,
            })
        };
        let (limit, request) = (is_ours(Side::Limits), is_ours(Side::Requests));
        let step = Step {
            limit: step.limit.filter(|_| limit),
            request: step.request.filter(|_| request),
            ..step
        };
        Some(step).filter(|step| step.limit.is_some() || step.request.is_some())
    };
    Ok(steps.into_iter().filter_map(own).collect())
}

fn step(
    container: &Container,
    before: &OriginalCpu,
    node: &str,
    allocatable: &BTreeMap<String, MilliCpu>,
) -> Result<Option<Step>, Obstacle> {
    let name = &container.name;
    let now = OriginalCpu::of(container);
    let read = |text: Option<&String>| amount(name, text);
    let (limit, request) = (read(now.limit.as_ref())?, read(now.request.as_ref())?);
    // What was absent cannot be removed, so a request that was absent stays.
    let request = read(before.request.as_ref())?.filter(|before| Some(before) != request.as_ref());
    let before_limit = read(before.limit.as_ref())?;
    let had_no_limit = before_limit.is_none();
    let limit = match (before_limit, limit) {
        (Some(before), now) if now.as_ref() != Some(&before) => Some(before),
        (None, Some(now)) => {
            let most = allocatable
                .get(node)
                .ok_or_else(|| Obstacle::NoAllocatable {
                    container: name.clone(),
                    node: node.to_owned(),
                })?;
            Some(Quantity::from(*most)).filter(|most| *most > now)
        }
        _ => None,
    };
    let step = Step {
        container: name.clone(),
        had_no_limit: had_no_limit && limit.is_some(),
        limit,
        request,
    };
    Ok(Some(step).filter(|step| step.limit.is_some() || step.request.is_some()))
}

/// An amount as the API server stores it; none where it is zero, which means the same.
fn amount(container: &str, text: Option<&String>) -> Result<Option<Quantity>, Obstacle> {
    let Some(text) = text else { return Ok(None) };
    let quantity = Quantity::parse(text).map_err(|source| Obstacle::Amount {
        container: container.to_owned(),
        text: text.clone(),
        source,
    })?;
    let above_zero = quantity > Quantity::from(MilliCpu::ZERO);
    Ok(above_zero.then(|| quantity.rounded_up_to_milli()))
}

impl Step {
    /// The resize that does it, of the incarnation `uid`.
    pub fn request(&self, uid: Option<String>) -> ResizeRequest {
        ResizeRequest {
            uid,
            container: Some(self.container.clone()),
            cpu: self.limit.clone(),
            cpu_request: self.request.clone(),
            policy: ResizePolicy::Limits,
            // What was resized can be resized.
            pod_level: true,
            ..ResizeRequest::default()
        }
    }

    /// What changed, as people read it.
    pub fn detail(&self, plan: &ResizePlan) -> String {
        let changes = plan.changes.iter().map(|change| {
            let from = change
                .from
                .as_ref()
                .map_or_else(|| "none".to_owned(), ToString::to_string);
            let (side, resource) = (change.field.side.name(), change.field.resource.name());
            format!("{side}.{resource} {from} → {}", change.to)
        });
        let changes = changes.collect::<Vec<_>>().join(", ");
        if self.had_no_limit {
            format!(
                "{changes} (it had no limit, which cannot be removed: raised to the node's allocatable)"
            )
        } else {
            changes
        }
    }
}

/// The pod, with its namespace.
pub fn shown(pod: &Pod) -> String {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    format!(
        "{namespace}/{}",
        pod.metadata.name.as_deref().unwrap_or_default()
    )
}

/// Whether there is nothing left to resize.
pub fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests;
