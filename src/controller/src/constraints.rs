//! What a namespace's LimitRanges and ResourceQuotas would refuse, so that it is not even asked for.
//!
//! The API server holds both against every resize. A LimitRange bounds one
//! container or one pod, so it becomes part of the container's cap. A quota
//! bounds all pods together: one container's growth is capped by what is left
//! of it, and of the growths that each fit alone, those that do not fit
//! together any more are left out of the plans ([`within_quotas`]).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    LimitRange, LimitRangeItem, ResourceQuota, ScopedResourceSelectorRequirement,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mbcas_core::ContainerId;
use mbcas_core::quantity::Quantity;
use mbcas_core::units::MilliCpu;
use mbcas_market::{Ledger, NodeSnapshot, Plan};

use crate::cluster::{PodView, View, Watched, key, within};

/// What LimitRanges say about CPU limits; absent: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitRangeView {
    container: Bounds,
    pod: Bounds,
}

/// The most of one container, or of one pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bounds {
    max: Option<MilliCpu>,
    /// Limit over request, in thousandths.
    ratio: Option<u64>,
}

impl Bounds {
    fn tighten(&mut self, item: &LimitRangeItem) {
        let of = |list: &Option<BTreeMap<String, Amount>>| thousandths(list.as_ref()?.get("cpu")?);
        let max = of(&item.max).map(MilliCpu::new);
        self.max = smaller(self.max, max);
        self.ratio = smaller(self.ratio, of(&item.max_limit_request_ratio));
    }

    fn most(self, request: MilliCpu) -> Option<MilliCpu> {
        let by_ratio = self.ratio.map(|ratio| request.scaled(ratio, 1_000));
        smaller(self.max, by_ratio)
    }
}

impl LimitRangeView {
    /// What is needed of `range`; nothing of one that says nothing about CPU limits.
    pub fn of(range: &LimitRange) -> Option<Self> {
        let mut view = Self::default();
        for item in range.spec.iter().flat_map(|spec| &spec.limits) {
            match item.type_.as_str() {
                "Container" => view.container.tighten(item),
                "Pod" => view.pod.tighten(item),
                _ => {}
            }
        }
        (view != Self::default()).then_some(view)
    }

    /// The most that the limit of `container` may be.
    fn most(&self, pod: &PodView, container: &str) -> Option<MilliCpu> {
        let own = pod.containers().find(|c| c.name == container)?;
        let requests = pod.containers().map(|c| c.request).sum();
        let others = pod.containers().filter(|c| c.name != container);
        let others: MilliCpu = others.filter_map(|c| c.limit).sum();
        let by_pod = self.pod.most(requests).map(|most| most - others);
        smaller(self.container.most(own.request), by_pod)
    }
}

impl Watched for LimitRange {
    const IS_OPTIONAL: bool = true;

    fn keep(self, view: &mut View) {
        match LimitRangeView::of(&self) {
            Some(range) => drop(view.limit_ranges.insert(key(&self.metadata), range)),
            None => Self::forget(&self.metadata, view),
        }
    }

    fn forget(meta: &ObjectMeta, view: &mut View) {
        view.limit_ranges.remove(&key(meta));
    }

    fn swap(view: &mut View, listed: View) {
        view.limit_ranges = listed.limit_ranges;
    }
}

/// What is left of a quota on CPU limits.
#[derive(Clone, Debug, PartialEq)]
pub struct QuotaView {
    left: MilliCpu,
    scopes: Vec<Scope>,
}

/// Which pods a quota is about. Those of others are rare: such a quota counts for every pod.
#[derive(Clone, Debug, PartialEq)]
enum Scope {
    Terminating(bool),
    BestEffort(bool),
    Priority(ScopedResourceSelectorRequirement),
}

impl Scope {
    fn of_name(name: &str) -> Option<Self> {
        match name {
            "Terminating" => Some(Self::Terminating(true)),
            "NotTerminating" => Some(Self::Terminating(false)),
            "BestEffort" => Some(Self::BestEffort(true)),
            "NotBestEffort" => Some(Self::BestEffort(false)),
            _ => None,
        }
    }

    fn holds(&self, pod: &PodView) -> bool {
        match self {
            Self::Terminating(wanted) => pod.template.has_deadline == *wanted,
            // A participant has a request.
            Self::BestEffort(wanted) => !wanted,
            Self::Priority(rule) => {
                let class = pod.template.priority_class.as_deref();
                let class = class.filter(|name| !name.is_empty());
                let mut values = rule.values.iter().flatten();
                let listed = class.is_some_and(|class| values.any(|value| value == class));
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

impl QuotaView {
    /// What is needed of `quota`; nothing of one that says nothing about CPU limits.
    pub fn of(quota: &ResourceQuota) -> Option<Self> {
        let spec = quota.spec.as_ref()?;
        let limits = |list: &BTreeMap<String, Amount>| {
            list.get("limits.cpu")
                .and_then(thousandths)
                .map(MilliCpu::new)
        };
        let hard = spec.hard.as_ref().and_then(limits)?;
        let status = quota.status.as_ref();
        let used = status.and_then(|status| status.used.as_ref().and_then(limits));
        let plain = spec.scopes.iter().flatten();
        let plain = plain.filter_map(|name| Scope::of_name(name));
        let selector = spec.scope_selector.as_ref();
        let selected = selector.and_then(|selector| selector.match_expressions.as_deref());
        let selected = selected.unwrap_or_default().iter().filter_map(|rule| {
            if rule.scope_name == "PriorityClass" {
                return Some(Scope::Priority(rule.clone()));
            }
            Scope::of_name(&rule.scope_name).filter(|_| rule.operator == "Exists")
        });
        Some(Self {
            left: hard - used.unwrap_or_default(),
            scopes: plain.chain(selected).collect(),
        })
    }

    fn is_about(&self, pod: &PodView) -> bool {
        self.scopes.iter().all(|scope| scope.holds(pod))
    }
}

impl Watched for ResourceQuota {
    const IS_OPTIONAL: bool = true;

    fn keep(self, view: &mut View) {
        match QuotaView::of(&self) {
            Some(quota) => drop(view.quotas.insert(key(&self.metadata), quota)),
            None => Self::forget(&self.metadata, view),
        }
    }

    fn forget(meta: &ObjectMeta, view: &mut View) {
        view.quotas.remove(&key(meta));
    }

    fn swap(view: &mut View, listed: View) {
        view.quotas = listed.quotas;
    }
}

/// Caps the participants by what LimitRanges and quotas would take. Returns those of
/// which a LimitRange would refuse every limit, as it came after their pods did.
pub fn constrain(snapshots: &mut [NodeSnapshot], view: &View) -> BTreeSet<ContainerId> {
    let mut refused = BTreeSet::new();
    for (id, observed) in snapshots.iter_mut().flat_map(|s| &mut s.participants) {
        let Some(pod) = view.pods.get(&id.pod.uid) else {
            continue;
        };
        let ranges = within(&view.limit_ranges, &id.pod.namespace);
        let by_range = ranges.filter_map(|(_, range)| range.most(pod, &id.container));
        let by_range = by_range.min();
        if by_range.is_some_and(|most| most < observed.request.ceil_to_quantum()) {
            refused.insert(id.clone());
            continue;
        }
        let quotas = within(&view.quotas, &id.pod.namespace);
        let left = quotas
            .filter(|(_, quota)| quota.is_about(pod))
            .map(|(_, quota)| quota.left);
        // Shrinks give back to a quota only when its controller has counted anew.
        let by_quota = left
            .min()
            .map(|left| left + observed.limit.unwrap_or_default());
        let Some(most) = smaller(by_range, by_quota) else {
            continue;
        };
        observed.max_cpu = smaller(observed.max_cpu, Some(most));
        observed.min_cpu = observed.min_cpu.map(|floor| floor.min(most));
    }
    refused
}

/// Leaves out of `plans` the growths for which a quota has no room beside those before
/// them, and makes their ledgers forget them; `before` has the ledgers that the plans were made
/// from. Returns how many.
pub fn within_quotas(
    plans: &mut [Plan],
    nodes: &[NodeSnapshot],
    before: &BTreeMap<String, Ledger>,
    view: &View,
) -> u64 {
    let (empty, mut left_out) = (Ledger::default(), 0);
    // What is left of each quota that growth was taken from.
    let mut left: BTreeMap<(&str, &str), MilliCpu> = BTreeMap::new();
    for (plan, node) in plans.iter_mut().zip(nodes) {
        let before = before.get(&node.node).unwrap_or(&empty);
        let ledger = &mut plan.ledger;
        plan.writes.retain(|write| {
            let growth = write.to - write.from.unwrap_or_default();
            let Some(pod) = view.pods.get(&write.id.pod.uid) else {
                return true;
            };
            let namespace = pod.namespace();
            let about = within(&view.quotas, namespace).filter(|(_, quota)| quota.is_about(pod));
            let about: Vec<_> = about
                .map(|(name, quota)| (namespace, name, quota.left))
                .collect();
            let has_room = |(namespace, name, all): &(&str, &str, MilliCpu)| {
                growth <= left.get(&(*namespace, *name)).copied().unwrap_or(*all)
            };
            if !about.iter().all(has_room) {
                ledger.take_back(&write.id, before);
                left_out += 1;
                return false;
            }
            for (namespace, name, all) in about {
                *left.entry((namespace, name)).or_insert(all) -= growth;
            }
            true
        });
    }
    left_out
}

fn thousandths(amount: &Amount) -> Option<u64> {
    Quantity::parse(&amount.0).ok()?.as_thousandths()
}

/// The smaller of the two that are there.
fn smaller<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests;
