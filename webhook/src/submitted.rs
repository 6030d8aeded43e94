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

use std::borrow::Cow;

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use mbcas_api::Original;
use mbcas_api::participant::cpu_limit;
use mbcas_core::annotations::Settings;
use mbcas_core::quantity::Quantity;
use mbcas_core::units::MilliCpu;

use crate::namespace::Namespace;
use crate::policy::Policy;

/// The participating container's CPU as it was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubmittedCpu {
    /// The request; a limit alone stands for both, as the API server has it, and
    /// the namespace's default stands for one that was not written.
    pub request: Option<MilliCpu>,
    /// The limit that the owner wrote.
    pub limit: Option<MilliCpu>,
    /// The limit on the container was set by us earlier.
    pub limit_is_ours: bool,
}

impl SubmittedCpu {
    /// Looks at `container`, whose CPU request is `request`, beside the `record` that the pod carries, if it carries one.
    pub fn of(
        container: &Container,
        request: Option<MilliCpu>,
        settings: &Settings,
        policy: &Policy,
        record: Option<&Original>,
    ) -> Self {
        let resources = container.resources.as_ref();
        // A limit that is there counts, also one of zero: it cannot be added.
        let present = resources.and_then(|r| r.limits.as_ref()?.get("cpu"));
        let limit = present.map(|_| cpu_limit(container).unwrap_or_default());
        let recorded = record.and_then(|record| record.containers.get(&container.name));
        let said_absent = recorded.is_some_and(|cpu| cpu.limit.is_none());
        // Ours always stands beside a request.
        let written = resources.and_then(|r| r.requests.as_ref()?.get("cpu"));
        let limit_is_ours = said_absent
            && written.is_some()
            && limit.is_some()
            && limit == request.map(|r| cap(settings, policy, r));
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

/// The CPU request that the namespace's policy gives to a container that says nothing about CPU.
pub fn default_request(container: &Container, namespace: &Namespace) -> Option<MilliCpu> {
    let resources = container.resources.as_ref();
    let lists = resources.into_iter().flat_map(|r| [&r.requests, &r.limits]);
    let silent = !lists.flatten().any(|list| list.contains_key("cpu"));
    let default = namespace.policy().defaults.cpu_request.map(MilliCpu::from);
    default.filter(|_| silent)
}

/// `containers` as the owner wrote them: without the limit that is ours. A
/// request by default counts as written: it can be lowered later, never removed.
pub fn containers<'a>(
    containers: &'a [Container],
    chosen: &Container,
    cpu: &SubmittedCpu,
    default: Option<MilliCpu>,
) -> Cow<'a, [Container]> {
    if default.is_none() && !cpu.limit_is_ours {
        return Cow::Borrowed(containers);
    }
    let mut submitted = containers.to_vec();
    if let Some(default) = default {
        let silent = submitted
            .iter_mut()
            .filter(|container| container.name == chosen.name);
        for container in silent {
            let resources = container.resources.get_or_insert_default();
            let requests = resources.requests.get_or_insert_default();
            requests.insert(
                "cpu".to_owned(),
                Amount(Quantity::from(default).canonical()),
            );
        }
    }
    if cpu.limit_is_ours {
        let ours = submitted
            .iter_mut()
            .filter(|container| container.name == chosen.name);
        for limits in ours.filter_map(|c| c.resources.as_mut()?.limits.as_mut()) {
            limits.remove("cpu");
        }
    }
    Cow::Owned(submitted)
}
