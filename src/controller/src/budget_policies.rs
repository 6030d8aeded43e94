//! What a namespace's BudgetPolicy says to the loop.
//!
//! Admission has written most of it on the pods already. What is here holds for
//! pods that were created before the policy, while the webhook was away, or
//! changed since; and totals hold here alone ([`mbcas_market::allotment`]).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mbcas_api::budget_policy::{BudgetBounds, BudgetPolicyStatus};
use mbcas_api::{BUDGET_POLICY_NAME, BudgetPolicy};
use mbcas_core::annotations::Mode;
use mbcas_core::units::{Budget, MilliCpu};
use mbcas_market::Allotment;

use crate::cluster::{View, Watched};

/// What the loop keeps of a BudgetPolicy. The default says nothing and limits nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyView {
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// Default and bounds of budgets.
    pub budget: BudgetBounds,
    /// The least floor of a container.
    pub least: Option<MilliCpu>,
    /// The most that a container may be given.
    pub most: Option<MilliCpu>,
    /// What floors may add up to.
    pub floors: Option<MilliCpu>,
    /// How far MBCAS goes at most.
    pub mode: Option<Mode>,
    /// What its status says.
    pub status: BudgetPolicyStatus,
}

impl PolicyView {
    /// What is needed of `policy`.
    pub fn of(policy: &BudgetPolicy) -> Self {
        let (spec, cpu) = (&policy.spec, &policy.spec.cpu);
        Self {
            generation: policy.metadata.generation,
            budget: spec.budget.clone(),
            least: cpu.min_per_pod.map(MilliCpu::from),
            most: cpu.max_per_pod.map(MilliCpu::from),
            floors: cpu.floor_total.map(MilliCpu::from),
            mode: spec.mode.map(Mode::from),
            status: policy.status.clone().unwrap_or_default(),
        }
    }

    /// The budget of a pod that has `named` one, or none: the default then, as admission would choose it.
    pub fn budget(&self, named: Option<Budget>) -> Budget {
        let bounds = &self.budget;
        let most = bounds.max.unwrap_or(Budget::MAX);
        let least = bounds.min.unwrap_or(Budget::MIN);
        let total = bounds.total.and_then(|total| Budget::new(total).ok());
        let default = || {
            let default = bounds.default.unwrap_or_default();
            total.map_or(default, |total| default.min(total))
        };
        named.unwrap_or_else(default).min(most).max(least)
    }

    /// The floor of a container whose pod has `named` one, or none.
    pub fn floor(&self, named: Option<MilliCpu>) -> Option<MilliCpu> {
        let floor = named.max(self.least)?;
        Some(self.most.map_or(floor, |most| floor.min(most)))
    }

    /// The cap of a container whose pod has `named` one, or none; `default` where nobody says.
    pub fn cap(&self, named: Option<MilliCpu>, default: MilliCpu) -> MilliCpu {
        let bounds = [named, self.most].into_iter().flatten();
        bounds.min().unwrap_or(default)
    }

    /// What the namespace's participants may have together.
    pub fn allotment(&self) -> Allotment {
        Allotment {
            budget: self.budget.total,
            floors: self.floors,
        }
    }
}

/// What each namespace may have.
pub fn allotments(policies: &BTreeMap<String, PolicyView>) -> BTreeMap<String, Allotment> {
    policies
        .iter()
        .map(|(namespace, policy)| (namespace.clone(), policy.allotment()))
        .collect()
}

impl Watched for BudgetPolicy {
    const IS_OPTIONAL: bool = true;

    fn keep(self, view: &mut View) {
        let (Some(namespace), Some(name)) = (&self.metadata.namespace, &self.metadata.name) else {
            return;
        };
        if name == BUDGET_POLICY_NAME {
            view.policies
                .insert(namespace.clone(), PolicyView::of(&self));
        }
    }

    fn forget(meta: &ObjectMeta, view: &mut View) {
        if let (Some(namespace), Some(BUDGET_POLICY_NAME)) = (&meta.namespace, meta.name.as_deref())
        {
            view.policies.remove(namespace);
        }
    }

    fn swap(view: &mut View, listed: View) {
        view.policies = listed.policies;
    }
}

#[cfg(test)]
mod tests;
