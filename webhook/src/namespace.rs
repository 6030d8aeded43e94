//! What a namespace has decided about its pods, and what of it is given away.
//!
//! Plain data: the cluster's caches fill it ([`crate::cache`]), `mbcas inject`
//! and tests write it by hand. The default says nothing and limits nothing.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem, ResourceQuota};
use mbcas_api::budget_policy::OnExceed;
use mbcas_api::{BudgetPolicy, BudgetPolicySpec};
use mbcas_core::units::MilliCpu;
use serde::Deserialize;
use serde_json::Value;

use crate::admit::Holding;
use crate::room::Quota;

/// One namespace, as admission sees it.
#[derive(Clone, Debug, Default)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// What is decided.
    pub rules: Arc<Rules>,
    /// What is given away.
    pub held: Held,
}

/// What somebody has decided about a namespace's pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// Its BudgetPolicy.
    pub policy: BudgetPolicySpec,
    /// Its LimitRanges' items.
    pub limit_ranges: Vec<LimitRangeItem>,
    /// Its ResourceQuotas.
    pub quotas: Vec<Quota>,
}

/// What the pods that take part hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// How many there are.
    pub pods: u64,
    /// Their budgets' sum.
    pub budget: u64,
    /// Their floors' sum.
    pub floors: MilliCpu,
}

impl Held {
    /// Counts one more.
    pub fn add(&mut self, holding: Holding) {
        self.pods += 1;
        self.budget += holding.budget.get();
        self.floors += holding.floor;
    }

    /// Counts one less.
    pub fn take(&mut self, holding: Holding) {
        self.pods = self.pods.saturating_sub(1);
        self.budget = self.budget.saturating_sub(holding.budget.get());
        self.floors -= holding.floor;
    }

    /// Both together.
    #[must_use]
    pub fn plus(mut self, other: Self) -> Self {
        self.pods += other.pods;
        self.budget += other.budget;
        self.floors += other.floors;
        self
    }
}

impl Rules {
    /// Whether it matters what other pods hold.
    pub fn has_totals(&self) -> bool {
        self.policy.budget.total.is_some() || self.policy.cpu.floor_total.is_some()
    }

    /// The rules that `objects` make: a BudgetPolicy, LimitRanges and
    /// ResourceQuotas, told apart by their kind; others make none.
    ///
    /// # Errors
    /// Where one does not have the shape of its kind.
    pub fn of<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Result<Self, serde_json::Error> {
        let mut rules = Self::default();
        for object in objects {
            match object["kind"].as_str() {
                Some("BudgetPolicy") => rules.policy = BudgetPolicy::deserialize(object)?.spec,
                Some("LimitRange") => {
                    let range = LimitRange::deserialize(object)?;
                    rules
                        .limit_ranges
                        .extend(range.spec.into_iter().flat_map(|spec| spec.limits));
                }
                Some("ResourceQuota") => {
                    let quota = ResourceQuota::deserialize(object)?;
                    rules.quotas.extend(Quota::of(&quota));
                }
                _ => {}
            }
        }
        Ok(rules)
    }
}

impl Namespace {
    /// A namespace with a BudgetPolicy and nothing in it.
    pub fn with_policy(name: &str, policy: BudgetPolicySpec) -> Self {
        Self {
            name: name.to_owned(),
            rules: Arc::new(Rules {
                policy,
                ..Rules::default()
            }),
            held: Held::default(),
        }
    }

    /// Its BudgetPolicy; one that says nothing where there is none.
    pub fn policy(&self) -> &BudgetPolicySpec {
        &self.rules.policy
    }

    /// Whether a pod that asks for too much is created with less, and not refused.
    pub fn clamps(&self) -> bool {
        self.policy().on_exceed == Some(OnExceed::Clamp)
    }
}
