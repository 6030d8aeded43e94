//! The pod as its owner wrote it.
//!
//! `reinvocationPolicy: IfNeeded` shows us a pod for the second time when
//! another webhook changed it after us. What we did the first time must not
//! pass for the owner's wish then, and what a tenant wrote into our own
//! annotations must not pass for our work. Nothing in a review tells the two
//! cases apart, so the rule is one that a forger gains nothing by:
//!
//! The record is always made anew from the containers as they are, with one
//! exception. Where an earlier record says that the participating container had
//! no CPU limit, and its limit now is exactly the one that we would set, the
//! limit counts as ours. A tenant who forges that has said that the container
//! had no limit, and could have said so by writing none.

use k8s_openapi::api::core::v1::Container;
use mbcas_api::Original;
use mbcas_api::participant::{cpu_limit, submitted_cpu_request};
use mbcas_core::annotations::Settings;
use mbcas_core::units::MilliCpu;

use crate::policy::Policy;

/// The participating container's CPU as it was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubmittedCpu {
    /// The request; a limit alone stands for both, as the API server has it.
    pub request: Option<MilliCpu>,
    /// The limit that the owner wrote.
    pub limit: Option<MilliCpu>,
    /// The limit on the container was set by us earlier.
    pub limit_is_ours: bool,
}

impl SubmittedCpu {
    /// Looks at `container`, beside the `record` that the pod carries, if it carries one.
    pub fn of(
        container: &Container,
        settings: &Settings,
        policy: &Policy,
        record: Option<&Original>,
    ) -> Self {
        let request = submitted_cpu_request(container);
        // A limit that is there counts, also one of zero: it cannot be added.
        let present = container
            .resources
            .as_ref()
            .and_then(|r| r.limits.as_ref()?.get("cpu"));
        let limit = present.map(|_| cpu_limit(container).unwrap_or_default());
        let recorded = record.and_then(|record| record.containers.get(&container.name));
        let said_absent = recorded.is_some_and(|cpu| cpu.limit.is_none());
        let limit_is_ours =
            said_absent && limit.is_some() && limit == request.map(|r| cap(settings, policy, r));
        Self {
            request,
            limit: limit.filter(|_| !limit_is_ours),
            limit_is_ours,
        }
    }
}

/// The limit that a container without one is given: `mbcas.maxCPU`, else the
/// operator's default, on the market's grid, and never below the request.
pub fn cap(settings: &Settings, policy: &Policy, request: MilliCpu) -> MilliCpu {
    settings
        .max_cpu
        .unwrap_or_else(|| policy.default_max_cpu())
        .floor_to_quantum()
        .max(request)
}

/// `containers` without the limit that is ours, for whatever has to see what the owner wrote.
pub fn containers(
    containers: &[Container],
    chosen: &Container,
    cpu: &SubmittedCpu,
) -> Vec<Container> {
    let mut submitted = containers.to_vec();
    if cpu.limit_is_ours {
        let ours = submitted
            .iter_mut()
            .filter(|container| container.name == chosen.name);
        for limits in ours.filter_map(|c| c.resources.as_mut()?.limits.as_mut()) {
            limits.remove("cpu");
        }
    }
    submitted
}
