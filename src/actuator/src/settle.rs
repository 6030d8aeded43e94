//! Waiting until the kubelet has done it.
//!
//! The spec says what was asked; only the status says what is. A resize is done
//! when no resize condition is left *and* the container's status shows the new
//! amounts, both observed at the generation that we wrote
//! (KEP-1287; conditions may lag behind the amounts, kubernetes#137745).

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodCondition, ResourceRequirements};
use kube::api::Api;
use mbcas_core::quantity::Quantity;
use mbcas_core::units::MilliCpu;
use tokio::time::Instant;

use crate::plan::{Change, ResizePlan};
use crate::request::{Resource, Side};

/// How often the status is read. A kubelet of 1.36 or later needs about 0.16 s,
/// one of 1.33 about 1.8 s.
const POLL: Duration = Duration::from_millis(200);

/// Where a resize stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The kubelet has not answered yet, or is at it.
    Pending,
    /// The status shows the new amounts.
    Done,
    /// Accepted, but there is no room now; the kubelet tries again.
    Deferred(String),
    /// The kubelet will never do it.
    Infeasible(String),
    /// The kubelet tried and failed; it tries again.
    Failing(String),
    /// The pod ended, or another one has its name.
    Gone,
}

/// How waiting ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Done, after this long.
    Done(Duration),
    /// It will not happen, or the pod is gone.
    Failed(Progress),
    /// Time ran out in this state.
    TimedOut(Progress),
}

/// Judges `pod`'s status against `plan`, which was accepted at `generation`.
pub fn progress(pod: &Pod, plan: &ResizePlan, generation: Option<i64>) -> Progress {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    let ended =
        matches!(phase, Some("Succeeded" | "Failed")) || pod.metadata.deletion_timestamp.is_some();
    if ended || pod.metadata.uid.as_deref() != Some(plan.uid.as_str()) {
        return Progress::Gone;
    }
    let Some(status) = &pod.status else {
        return Progress::Pending;
    };
    for condition in status
        .conditions
        .iter()
        .flatten()
        .filter(|c| c.status == "True")
    {
        if let Some(progress) = judge(condition, generation) {
            return progress;
        }
    }
    if status
        .observed_generation
        .zip(generation)
        .is_some_and(|(seen, written)| seen < written)
    {
        return Progress::Pending;
    }
    let init = plan.wanted.first().is_some_and(|c| c.field.init);
    let statuses = if init {
        &status.init_container_statuses
    } else {
        &status.container_statuses
    };
    let container = statuses.iter().flatten().find(|c| c.name == plan.container);
    let actual = container.and_then(|c| c.resources.as_ref());
    let reached =
        actual.is_some_and(|actual| plan.wanted.iter().all(|change| shows(actual, change)));
    if reached {
        Progress::Done
    } else {
        Progress::Pending
    }
}

/// What one true condition says about the resize, if it is about it.
fn judge(condition: &PodCondition, generation: Option<i64>) -> Option<Progress> {
    let about_older = condition
        .observed_generation
        .zip(generation)
        .is_some_and(|(seen, ours)| seen < ours);
    let message = condition.message.clone().unwrap_or_default();
    match (condition.type_.as_str(), condition.reason.as_deref()) {
        ("PodResizePending" | "PodResizeInProgress", _) if about_older => Some(Progress::Pending),
        ("PodResizePending", Some("Infeasible")) => Some(Progress::Infeasible(message)),
        ("PodResizePending", Some("Deferred")) => Some(Progress::Deferred(message)),
        ("PodResizeInProgress", Some("Error")) => Some(Progress::Failing(message)),
        ("PodResizePending" | "PodResizeInProgress", _) => Some(Progress::Pending),
        _ => None,
    }
}

fn shows(actual: &ResourceRequirements, change: &Change) -> bool {
    let list = match change.field.side {
        Side::Requests => actual.requests.as_ref(),
        Side::Limits => actual.limits.as_ref(),
    };
    let text = list.and_then(|l| l.get(change.field.resource.name()));
    let Some(amount) = text.and_then(|t| Quantity::parse(&t.0).ok()) else {
        return false;
    };
    match change.field.resource {
        // The kubelet cannot set less than a quantum, and the systemd driver rounds up to one.
        Resource::Cpu => {
            let millicores = amount.as_cpu().zip(change.to.as_cpu());
            millicores.is_some_and(|(is, wanted)| is.abs_diff(wanted) < MilliCpu::QUANTUM)
        }
        // The kubelet knows whole bytes only; a quantity's thousandths are thousandths of one here.
        Resource::Memory => {
            let thousandths = amount.as_cpu().zip(change.to.as_cpu());
            thousandths.is_some_and(|(is, wanted)| is.abs_diff(wanted) < MilliCpu::new(1000))
        }
    }
}

/// Reads the pod until the resize is done, will not happen, or `timeout` is over.
/// A read that fails is tried again: it says nothing about the resize.
pub async fn settle(
    pods: &Api<Pod>,
    plan: &ResizePlan,
    generation: Option<i64>,
    timeout: Duration,
) -> Settled {
    settle_watched(pods, plan, generation, timeout, |_| {}).await
}

/// As [`settle`], and tells `watch` whenever the state has changed.
pub async fn settle_watched(
    pods: &Api<Pod>,
    plan: &ResizePlan,
    generation: Option<i64>,
    timeout: Duration,
    mut watch: impl FnMut(&Progress),
) -> Settled {
    let started = Instant::now();
    let mut seen = Progress::Pending;
    let polling = async {
        loop {
            let now = match pods.get_opt(&plan.pod).await {
                Ok(Some(pod)) => progress(&pod, plan, generation),
                Ok(None) => Progress::Gone,
                Err(error) => {
                    tracing::debug!(%error, pod = %plan.pod, "Reading the pod's status failed");
                    seen.clone()
                }
            };
            if now != seen {
                watch(&now);
                seen = now;
            }
            match seen {
                Progress::Done => return Settled::Done(started.elapsed()),
                Progress::Infeasible(_) | Progress::Gone => return Settled::Failed(seen.clone()),
                _ => tokio::time::sleep(POLL).await,
            }
        }
    };
    let settled = tokio::time::timeout(timeout, polling).await;
    settled.unwrap_or(Settled::TimedOut(seen))
}

#[cfg(test)]
mod tests;
