//! What Kubernetes would refuse, or do unasked, checked before anything is sent.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::{Change, current};
use crate::refusal::Refusal;
use crate::request::Side;
use mbcas_api::qos::Qos;

/// Pods that can never be resized, whatever is asked.
pub(super) fn refuse_unresizable(pod: &Pod, spec: &PodSpec, shown: &str) -> Result<(), Refusal> {
    let annotations = pod.metadata.annotations.as_ref();
    if annotations.is_some_and(|a| a.contains_key("kubernetes.io/config.mirror")) {
        return Err(Refusal::StaticPod(shown.to_owned()));
    }
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return Err(Refusal::Windows(shown.to_owned()));
    }
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    if pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed")) {
        return Err(Refusal::Ended(shown.to_owned()));
    }
    let statuses = pod
        .status
        .as_ref()
        .and_then(|s| s.container_statuses.as_deref());
    let running = statuses.unwrap_or_default().iter().find(|status| {
        let state = status.state.as_ref();
        state.is_some_and(|state| state.running.is_some())
    });
    // The API server judges by the first running container, and lets a pod pass that has none.
    if running.is_some_and(|status| status.resources.is_none()) {
        return Err(Refusal::NodeWithoutResize(shown.to_owned()));
    }
    Ok(())
}

/// A resize is no reason to restart anything.
pub(super) fn refuse_restart(container: &Container, changes: &[Change]) -> Result<(), Refusal> {
    let policies = container.resize_policy.as_deref().unwrap_or_default();
    let restarting = changes
        .iter()
        .map(|c| c.field.resource.name())
        .find(|name| {
            policies
                .iter()
                .any(|p| p.resource_name == *name && p.restart_policy == "RestartContainer")
        });
    restarting.map_or(Ok(()), |name| {
        Err(Refusal::WouldRestart(container.name.clone(), name))
    })
}

/// Limits below their requests, and limits without one.
pub(super) fn refuse_inverted(
    after: &PodSpec,
    name: &str,
    changes: &[Change],
) -> Result<(), Refusal> {
    let containers = after
        .init_containers
        .iter()
        .flatten()
        .chain(&after.containers);
    for container in containers.filter(|c| c.name == name) {
        for resource in changes
            .iter()
            .map(|c| c.field.resource)
            .collect::<BTreeSet<_>>()
        {
            let limit = current(container, Side::Limits, resource)?;
            let request = current(container, Side::Requests, resource)?;
            match (limit, request) {
                (Some(limit), Some(request)) if limit < request => {
                    return Err(Refusal::LimitBelowRequest {
                        container: name.to_owned(),
                        resource: resource.name(),
                        limit: limit.canonical(),
                        request: request.canonical(),
                    });
                }
                (Some(_), None) => {
                    return Err(Refusal::LimitWithoutRequest {
                        container: name.to_owned(),
                        resource: resource.name(),
                    });
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The class is fixed for a pod's life.
pub(super) fn refuse_qos_change(
    pod: &Pod,
    before: &PodSpec,
    after: &PodSpec,
) -> Result<(), Refusal> {
    // The API server compares with the class that it noted when the pod was created.
    let noted = pod.status.as_ref().and_then(|s| s.qos_class.as_deref());
    let from = noted
        .and_then(Qos::of_name)
        .unwrap_or_else(|| Qos::of(before));
    let to = Qos::of(after);
    if from == to {
        return Ok(());
    }
    let hint = match from {
        Qos::Guaranteed => "equal (policy both)",
        Qos::Burstable => "apart",
        Qos::BestEffort => "absent",
    };
    Err(Refusal::QosWouldChange {
        from: format!("{from:?}"),
        to: format!("{to:?}"),
        hint,
    })
}
