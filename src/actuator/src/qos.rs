//! A pod's QoS class, computed from its spec as the API server does.
//!
//! A resize that would change the class is refused, so it is checked before.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
pub(crate) use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use mbcas_core::quantity::Quantity;
use mbcas_core::units::MilliCpu;

/// Kubernetes' three classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QosClass {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl QosClass {
    /// The class that `status.qosClass` names.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        [Self::Guaranteed, Self::Burstable, Self::BestEffort]
            .into_iter()
            .find(|class| format!("{class:?}") == name)
    }
}

/// The class of a pod whose containers (init containers included) have these resources.
/// `kubernetes/kubernetes` `pkg/apis/core/v1/helper/qos/qos.go`: cpu and memory
/// count, amounts of zero do not, and resources of the pod itself settle it alone.
pub(crate) fn qos_class(spec: &PodSpec) -> QosClass {
    let whole = spec.resources.as_ref().map(Amounts::of);
    if let Some(whole) = whole.filter(|amounts| !amounts.is_empty()) {
        return whole.class();
    }
    let mut classes = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
        .map(|c| c.resources.as_ref().map(Amounts::of).unwrap_or_default())
        .map(|amounts| amounts.class());
    let first = classes.next().unwrap_or(QosClass::BestEffort);
    if classes.all(|class| class == first) {
        first
    } else {
        QosClass::Burstable
    }
}

/// The amounts of cpu and memory above zero.
#[derive(Default)]
struct Amounts {
    requests: BTreeMap<&'static str, Quantity>,
    limits: BTreeMap<&'static str, Quantity>,
}

impl Amounts {
    fn of(resources: &ResourceRequirements) -> Self {
        let amounts = |list: Option<&BTreeMap<String, Text>>| {
            let amount = |name: &'static str| Some((name, amount_of(list?.get(name)?)?));
            ["cpu", "memory"].into_iter().filter_map(amount).collect()
        };
        Self {
            requests: amounts(resources.requests.as_ref()),
            limits: amounts(resources.limits.as_ref()),
        }
    }

    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.limits.is_empty()
    }

    fn class(&self) -> QosClass {
        if self.is_empty() {
            QosClass::BestEffort
        } else if self.requests == self.limits && self.limits.len() == 2 {
            QosClass::Guaranteed
        } else {
            QosClass::Burstable
        }
    }
}

fn amount_of(text: &Text) -> Option<Quantity> {
    Quantity::parse(&text.0)
        .ok()
        .filter(|amount| *amount != Quantity::from(MilliCpu::ZERO))
}

#[cfg(test)]
mod tests;
