//! Fitting what is asked for to what the pod and its namespace allow.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use mbcas_api::qos::Qos;
use mbcas_core::quantity::Quantity;
use mbcas_core::units::MilliCpu;

use super::checks::class_of;
use super::{Change, current, with_changes};
use crate::bounds::{Amounts, Constraint, clip};
use crate::ownership::Field;
use crate::refusal::Refusal;
use crate::request::{ResizePolicy, ResizeRequest, Resource, Side};

/// `request` as it can be carried out on `container`, and what bound its CPU amount.
pub(super) fn fitted<'a>(
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    request: &'a ResizeRequest,
) -> Result<(Cow<'a, ResizeRequest>, Option<Constraint>), Refusal> {
    let mut request = Cow::Borrowed(request);
    if request.both_if_guaranteed && class_of(pod, spec) == Qos::Guaranteed {
        request.to_mut().policy = ResizePolicy::Both;
    }
    let wanted = request.cpu.as_ref().and_then(Quantity::as_cpu);
    let (Some(bounds), Some(wanted)) = (&request.bounds, wanted) else {
        return Ok((request, None));
    };
    let amounts = amounts(pod, spec, container)?;
    let clipped = clip(request.policy, wanted, &amounts, bounds)?;
    if clipped.to != wanted {
        request.to_mut().cpu = Some(Quantity::from(clipped.to));
    }
    Ok((request, clipped.by))
}

/// The container and its pod as they are.
fn amounts(pod: &Pod, spec: &PodSpec, container: &Container) -> Result<Amounts, Refusal> {
    let cpu = |container: &Container, side| -> Result<Option<MilliCpu>, Refusal> {
        let amount = current(container, side, Resource::Cpu)?;
        Ok(amount.as_ref().and_then(Quantity::as_cpu))
    };
    let (request, limit) = (
        cpu(container, Side::Requests)?,
        cpu(container, Side::Limits)?,
    );
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let mut others = (MilliCpu::ZERO, MilliCpu::ZERO);
    for other in sidecars.chain(&spec.containers) {
        if other.name != container.name {
            others.0 += cpu(other, Side::Requests)?.unwrap_or_default();
            others.1 += cpu(other, Side::Limits)?.unwrap_or_default();
        }
    }
    let whole = spec.resources.as_ref().and_then(|r| r.limits.as_ref());
    let whole = whole.and_then(|limits| Quantity::parse(&limits.get("cpu")?.0).ok());
    Ok(Amounts {
        request: request.or(limit).unwrap_or_default(),
        limit,
        other_requests: others.0,
        other_limits: others.1,
        pod_limit: whole.as_ref().and_then(Quantity::as_cpu),
        apart: turns_guaranteed(pod, spec, container, request),
        terminating: spec.active_deadline_seconds.is_some(),
    })
}

/// Whether a CPU limit equal to the request is all that this pod lacks.
fn turns_guaranteed(
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    request: Option<MilliCpu>,
) -> bool {
    let Some(request) = request else { return false };
    let init = !spec.containers.iter().any(|c| c.name == container.name);
    let limit = Change {
        field: Field {
            init,
            container: container.name.clone(),
            side: Side::Limits,
            resource: Resource::Cpu,
        },
        from: None,
        to: Quantity::from(request),
    };
    class_of(pod, spec) != Qos::Guaranteed
        && Qos::of(&with_changes(spec, &[limit])) == Qos::Guaranteed
}
