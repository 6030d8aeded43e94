//! Whether a namespace has room for a sidecar.
//!
//! A LimitRange or a ResourceQuota would refuse the injected pod where the bare
//! one was admitted. A sidecar that is too large or too small for a LimitRange
//! is made to fit; where it cannot, or where a quota has no room for it, the
//! pod takes part without one.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, LimitRangeItem, PodSpec, ResourceQuota, ScopedResourceSelectorRequirement,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use mbcas_api::qos::Qos;
use mbcas_core::quantity::Quantity;

use crate::decide::SkipReason;
use crate::namespace::Namespace;
use crate::policy::AgentSpec;

/// A ResourceQuota, as far as a sidecar can exceed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Quota {
    /// What is left of it, in thousandths, by name: `requests.cpu`, `limits.memory`, …
    left: BTreeMap<&'static str, u64>,
    scopes: Vec<Scope>,
}

/// Which pods a quota is about.
#[derive(Clone, Debug, PartialEq)]
enum Scope {
    Terminating(bool),
    BestEffort(bool),
    Priority(ScopedResourceSelectorRequirement),
}

/// What a sidecar uses of each: the name in a list of resources, and in a quota.
const COUNTED: [(&str, bool, [&str; 2]); 4] = [
    ("cpu", false, ["requests.cpu", "cpu"]),
    ("memory", false, ["requests.memory", "memory"]),
    ("cpu", true, ["limits.cpu", "limits.cpu"]),
    ("memory", true, ["limits.memory", "limits.memory"]),
];

impl Quota {
    /// Projects a quota; absent if no sidecar can exceed it.
    pub fn of(quota: &ResourceQuota) -> Option<Self> {
        let spec = quota.spec.as_ref()?;
        let hard = spec.hard.as_ref()?;
        let used = quota
            .status
            .as_ref()
            .and_then(|status| status.used.as_ref());
        let mut left = BTreeMap::new();
        for names in COUNTED.iter().map(|(_, _, names)| names) {
            for name in names {
                if let Some(hard) = hard.get(*name).and_then(thousandths) {
                    let used = used
                        .and_then(|used| thousandths(used.get(*name)?))
                        .unwrap_or(0);
                    left.insert(*name, hard.saturating_sub(used));
                }
            }
        }
        let plain = spec
            .scopes
            .iter()
            .flatten()
            .filter_map(|name| Scope::of_name(name));
        let selected = spec
            .scope_selector
            .iter()
            .flat_map(|s| s.match_expressions.iter().flatten());
        let selected = selected.filter_map(|expression| {
            if expression.scope_name == "PriorityClass" {
                return Some(Scope::Priority(expression.clone()));
            }
            Scope::of_name(&expression.scope_name).filter(|_| expression.operator == "Exists")
        });
        let scopes = plain.chain(selected).collect();
        (!left.is_empty()).then_some(Self { left, scopes })
    }

    fn is_about(&self, spec: &PodSpec) -> bool {
        self.scopes.iter().all(|scope| scope.holds(spec))
    }
}

impl Scope {
    fn of_name(name: &str) -> Option<Self> {
        match name {
            "Terminating" => Some(Self::Terminating(true)),
            "NotTerminating" => Some(Self::Terminating(false)),
            "BestEffort" => Some(Self::BestEffort(true)),
            "NotBestEffort" => Some(Self::BestEffort(false)),
            // Others are rare: such a quota counts for every pod, which at worst costs a sidecar.
            _ => None,
        }
    }

    fn holds(&self, spec: &PodSpec) -> bool {
        match self {
            Self::Terminating(wanted) => spec.active_deadline_seconds.is_some() == *wanted,
            Self::BestEffort(wanted) => (Qos::of(spec) == Qos::BestEffort) == *wanted,
            Self::Priority(rule) => {
                let class = spec
                    .priority_class_name
                    .as_deref()
                    .filter(|name| !name.is_empty());
                let listed =
                    class.is_some_and(|class| rule.values.iter().flatten().any(|v| v == class));
                match rule.operator.as_str() {
                    "In" => listed,
                    "NotIn" => !listed,
                    "DoesNotExist" => class.is_none(),
                    _ => class.is_some(),
                }
            }
        }
    }
}

/// The sidecar for a pod of `spec` in `namespace`, made to fit its LimitRanges.
///
/// # Errors
/// [`SkipReason::LimitRange`] or [`SkipReason::Quota`] where there is no room for one.
pub fn fitted<'a>(
    agent: &'a AgentSpec,
    spec: &PodSpec,
    namespace: &Namespace,
) -> Result<Cow<'a, AgentSpec>, SkipReason> {
    let mut sidecar = Sidecar::of(agent);
    let ranges = &namespace.rules.limit_ranges;
    let container = || ranges.iter().filter(|range| range.type_ == "Container");
    container().try_for_each(|range| sidecar.fit(range))?;
    // What one range asked for must still hold after the next.
    for range in container() {
        let mut settled = sidecar;
        settled.fit(range)?;
        if settled != sidecar {
            return Err(SkipReason::LimitRange);
        }
    }
    for range in ranges.iter().filter(|range| range.type_ == "Pod") {
        sidecar.fits_beside(spec, range)?;
    }
    for quota in namespace
        .rules
        .quotas
        .iter()
        .filter(|quota| quota.is_about(spec))
    {
        for (resource, is_limit, names) in COUNTED {
            let left = names.iter().filter_map(|name| quota.left.get(name)).min();
            let needs =
                used(spec, resource, is_limit).saturating_add(sidecar.get(resource, is_limit));
            if left.is_some_and(|left| needs > *left) {
                return Err(SkipReason::Quota);
            }
        }
    }
    Ok(Cow::Owned(sidecar.on(agent)))
}

/// The least CPU limit that a sidecar is moved down to, in thousandths: the
/// container runtime's own start-up runs inside it, and the application waits for that.
const LEAST_CPU: u64 = 50;

/// The least memory limit, in thousandths of a byte, for the same reason.
const LEAST_MEMORY: u64 = 8 * 1024 * 1024 * 1_000;

/// The sidecar's amounts in thousandths: requests and limits, by resource.
#[derive(Clone, Copy, PartialEq)]
struct Sidecar {
    cpu: [u64; 2],
    memory: [u64; 2],
}

impl Sidecar {
    fn of(agent: &AgentSpec) -> Self {
        let amount = |text: &str| {
            Quantity::parse(text)
                .ok()
                .and_then(|q| q.as_thousandths())
                .unwrap_or(0)
        };
        Self {
            cpu: [amount(&agent.cpu_request), amount(&agent.cpu_limit)],
            memory: [amount(&agent.memory_request), amount(&agent.memory_limit)],
        }
    }

    fn get(&self, resource: &str, is_limit: bool) -> u64 {
        let pair = if resource == "cpu" {
            self.cpu
        } else {
            self.memory
        };
        pair[usize::from(is_limit)]
    }

    /// Moves request and limit into a container's range.
    fn fit(&mut self, range: &LimitRangeItem) -> Result<(), SkipReason> {
        let amounts = [
            ("cpu", &mut self.cpu, LEAST_CPU),
            ("memory", &mut self.memory, LEAST_MEMORY),
        ];
        for (resource, pair, least) in amounts {
            let of = |list: &Option<BTreeMap<String, Amount>>| {
                thousandths(list.as_ref()?.get(resource)?)
            };
            let (min, max) = (
                of(&range.min).unwrap_or(0),
                of(&range.max).unwrap_or(u64::MAX),
            );
            if min > max {
                return Err(SkipReason::LimitRange);
            }
            let before = pair[1];
            *pair = pair.map(|amount| amount.max(min).min(max));
            if pair[1] < before && pair[1] < least {
                return Err(SkipReason::LimitRange);
            }
            // limit / request may not be above the ratio: the request follows the limit.
            if let Some(ratio) = of(&range.max_limit_request_ratio).filter(|ratio| *ratio > 0) {
                let least = u128::from(pair[1]) * 1_000;
                let least = least.div_ceil(u128::from(ratio));
                pair[0] = pair[0].max(u64::try_from(least).unwrap_or(u64::MAX));
            }
            if pair[0] > pair[1] {
                return Err(SkipReason::LimitRange);
            }
        }
        // A sidecar whose requests equal its limits could make the pod Guaranteed.
        let exact = self.cpu[0] == self.cpu[1] && self.memory[0] == self.memory[1];
        if exact {
            Err(SkipReason::LimitRange)
        } else {
            Ok(())
        }
    }

    /// Whether the whole pod with the sidecar stays within a pod's range.
    fn fits_beside(&self, spec: &PodSpec, range: &LimitRangeItem) -> Result<(), SkipReason> {
        for resource in ["cpu", "memory"] {
            let of = |list: &Option<BTreeMap<String, Amount>>| {
                thousandths(list.as_ref()?.get(resource)?)
            };
            let whole = [false, true].map(|is_limit| {
                used(spec, resource, is_limit).saturating_add(self.get(resource, is_limit))
            });
            let too_much = of(&range.max).is_some_and(|max| whole[1] > max || whole[0] > max);
            let ratio = of(&range.max_limit_request_ratio);
            let too_wide = ratio.is_some_and(|ratio| {
                u128::from(whole[1]) * 1_000 > u128::from(ratio) * u128::from(whole[0])
            });
            if too_much || too_wide {
                return Err(SkipReason::LimitRange);
            }
        }
        Ok(())
    }

    /// The agent with these amounts, as its operator wrote them where they did not change.
    fn on(self, agent: &AgentSpec) -> AgentSpec {
        let before = Self::of(agent);
        let mut fitted = agent.clone();
        let fields = [
            (&mut fitted.cpu_request, before.cpu[0], self.cpu[0]),
            (&mut fitted.cpu_limit, before.cpu[1], self.cpu[1]),
            (&mut fitted.memory_request, before.memory[0], self.memory[0]),
            (&mut fitted.memory_limit, before.memory[1], self.memory[1]),
        ];
        for (field, before, now) in fields {
            if before != now {
                *field = Quantity::of_thousandths(now).canonical();
            }
        }
        fitted
    }
}

fn thousandths(amount: &Amount) -> Option<u64> {
    Quantity::parse(&amount.0).ok()?.as_thousandths()
}

/// What the pod's containers and sidecars have of a resource together, in
/// thousandths; as the API server counts it for a quota, so at least what its
/// greediest init container has on top of the sidecars before it.
fn used(spec: &PodSpec, resource: &str, is_limit: bool) -> u64 {
    let of = |container: &Container| {
        let resources = container.resources.as_ref();
        let list = resources.and_then(|r| {
            if is_limit {
                r.limits.as_ref()
            } else {
                r.requests.as_ref()
            }
        });
        list.and_then(|list| thousandths(list.get(resource)?))
            .unwrap_or(0)
    };
    let (mut sidecars, mut peak) = (0_u64, 0_u64);
    for container in spec.init_containers.iter().flatten() {
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = sidecars.saturating_add(of(container));
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars.saturating_add(of(container)));
        }
    }
    let running = spec
        .containers
        .iter()
        .map(of)
        .fold(sidecars, u64::saturating_add);
    running.max(peak)
}

#[cfg(test)]
mod tests;
