//! What a namespace has decided about its pods, and what of it is given away.
//!
//! Plain data: the cluster's caches fill it ([`crate::cache`]), `mbcas inject`
//! and tests write it by hand. The default says nothing and limits nothing.

use std::sync::Arc;

use k8s_openapi::api::core::v1::LimitRangeItem;
use mbcas_api::BudgetPolicySpec;
use mbcas_api::budget_policy::OnExceed;
use mbcas_core::units::MilliCpu;

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
