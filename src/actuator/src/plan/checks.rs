//! What Kubernetes would refuse, or do unasked, checked before anything is sent.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec};
use k8s_openapi::jiff::Timestamp;
use mbcas_api::qos::Qos;
use mbcas_core::quantity::Quantity;

use super::{Change, current};
use crate::refusal::Refusal;
use crate::request::{ResizeRequest, Resource, Side};

/// Pods that can never be resized, whatever is asked.
pub(super) fn refuse_unresizable(
    pod: &Pod,
    spec: &PodSpec,
    request: &ResizeRequest,
    shown: &str,
) -> Result<(), Refusal> {
    let annotations = pod.metadata.annotations.as_ref();
    if annotations.is_some_and(|a| a.contains_key("kubernetes.io/config.mirror")) {
        return Err(Refusal::StaticPod(shown.to_owned()));
    }
    if is_windows(spec) {
        return Err(Refusal::Windows(shown.to_owned()));
    }
    if spec.resources.is_some() && !request.pod_level {
        return Err(Refusal::PodLevelResources(shown.to_owned()));
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

/// By what the pod says of itself, or by the nodes that it may run on.
fn is_windows(spec: &PodSpec) -> bool {
    let selected = spec.node_selector.as_ref();
    let selected = selected.and_then(|labels| labels.get("kubernetes.io/os"));
    spec.os.as_ref().is_some_and(|os| os.name == "windows")
        || selected.is_some_and(|os| os == "windows")
}

/// What was decided about another run of the container, and what an automatic writer leaves alone.
pub(super) fn refuse_inconsiderate(
    pod: &Pod,
    spec: &PodSpec,
    request: &ResizeRequest,
    run: Option<&ContainerStatus>,
    name: &str,
    shown: &str,
) -> Result<(), Refusal> {
    let state = run.and_then(|run| run.state.as_ref()?.running.as_ref());
    let since = state.and_then(|running| running.started_at.as_ref());
    if request.started.is_some() && since.map(|time| time.0) != request.started {
        return Err(Refusal::Restarted(shown.to_owned(), name.to_owned()));
    }
    if request.considerate.is_some() && is_debugged(pod, spec) {
        return Err(Refusal::Debugged(shown.to_owned()));
    }
    Ok(())
}

/// An ephemeral container stays in the spec for ever; it counts while it runs, or may be about to.
fn is_debugged(pod: &Pod, spec: &PodSpec) -> bool {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|s| s.ephemeral_container_statuses.as_deref());
    let ended = |name: &str| {
        let status = statuses.unwrap_or_default().iter().find(|s| s.name == name);
        status.is_some_and(|s| s.state.as_ref().is_some_and(|s| s.terminated.is_some()))
    };
    let mut debuggers = spec.ephemeral_containers.iter().flatten();
    debuggers.any(|debugger| !ended(&debugger.name))
}

/// What must not become less: memory, unless that is asked for, and anything of a pod that
/// is not ready yet: it may need what it has to become so, and growth can only help it.
pub(super) fn refuse_taking(
    pod: &Pod,
    container: &Container,
    request: &ResizeRequest,
    changes: &[Change],
    shown: &str,
) -> Result<(), Refusal> {
    let falls = |change: &&Change| change.from.as_ref().is_some_and(|from| change.to < *from);
    let falling = changes.iter().filter(falls);
    for change in falling {
        if change.field.resource == Resource::Memory && !request.lower_memory {
            return Err(Refusal::LowersMemory {
                container: container.name.clone(),
                side: change.field.side.name(),
                from: change
                    .from
                    .as_ref()
                    .map_or_else(String::new, Quantity::canonical),
                to: change.to.canonical(),
            });
        }
        if request.considerate.is_some_and(|now| is_unready(pod, now)) {
            return Err(Refusal::NotReady(shown.to_owned()));
        }
    }
    Ok(())
}

/// Whether the pod is not ready, and has not been so for long: one that never becomes ready
/// must not keep what it has for ever. A time in the future by more than clocks differ is not believed.
fn is_unready(pod: &Pod, now: Timestamp) -> bool {
    const PATIENCE: i64 = 300;
    const CLOCKS_DIFFER: i64 = 60;
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref());
    let mut conditions = conditions.unwrap_or_default().iter();
    let unready = conditions.find(|c| c.type_ == "Ready" && c.status != "True");
    let since = unready.and_then(|condition| condition.last_transition_time.as_ref());
    let age = since.map(|since| now.as_second() - since.0.as_second());
    age.is_some_and(|age| (-CLOCKS_DIFFER..PATIENCE).contains(&age))
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
            refuse_above_pod(after, name, resource, limit.as_ref())?;
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

/// No container has more than its pod as a whole.
fn refuse_above_pod(
    after: &PodSpec,
    name: &str,
    resource: Resource,
    limit: Option<&Quantity>,
) -> Result<(), Refusal> {
    let whole = after.resources.as_ref().and_then(|r| r.limits.as_ref());
    let whole = whole.and_then(|limits| limits.get(resource.name()));
    let most = whole.map(|text| Quantity::parse(&text.0)).transpose();
    let most = most.map_err(|source| Refusal::Unreadable {
        resource: resource.name(),
        side: Side::Limits.name(),
        source,
    })?;
    match (limit, most) {
        (Some(limit), Some(most)) if *limit > most => Err(Refusal::AbovePod {
            container: name.to_owned(),
            resource: resource.name(),
            limit: limit.canonical(),
            most: most.canonical(),
        }),
        _ => Ok(()),
    }
}

/// The class that the API server compares with: the one that it noted when the pod was created.
pub(super) fn class_of(pod: &Pod, spec: &PodSpec) -> Qos {
    let noted = pod.status.as_ref().and_then(|s| s.qos_class.as_deref());
    noted
        .and_then(Qos::of_name)
        .unwrap_or_else(|| Qos::of(spec))
}

/// The class is fixed for a pod's life.
pub(super) fn refuse_qos_change(
    pod: &Pod,
    before: &PodSpec,
    after: &PodSpec,
) -> Result<(), Refusal> {
    let from = class_of(pod, before);
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
