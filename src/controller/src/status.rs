//! What a BudgetPolicy's status says: how much of its allotment a namespace uses, and what it gets.
//!
//! What is to be said is made of data alone ([`PolicyView::said`]); whether it is worth a
//! write is decided by [`is_due`].

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use mbcas_api::budget_policy::BudgetPolicyStatus;
use mbcas_core::quantity::Quantity;
use mbcas_core::units::MilliCpu;
use mbcas_market::{Asked, EffectiveBudget, Plan, Price};

use crate::budget_policies::PolicyView;
use crate::permit::{Restraint, Restraints};

/// The least time between two writes of figures that change all the time.
const STEADY: Duration = Duration::from_mins(1);

/// What one namespace's participants got in a cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// What they asked for, before the allotment.
    pub asked: Asked,
    /// What they are granted together.
    pub granted: MilliCpu,
    /// The highest price among their nodes.
    pub price: Price,
    /// How many of them are not resized.
    pub restrained: u32,
    /// What keeps them, first in the order of [`Restraint`].
    pub by: Option<Restraint>,
}

/// What each namespace's participants got.
pub fn held(
    asked: &BTreeMap<String, Asked>,
    plans: &[Plan],
    restraints: &Restraints,
) -> BTreeMap<String, Held> {
    let start = |asked: &Asked| Held {
        asked: *asked,
        ..Held::default()
    };
    let start = asked
        .iter()
        .map(|(name, asked)| (name.clone(), start(asked)));
    let mut all: BTreeMap<String, Held> = start.collect();
    for plan in plans {
        for allocation in &plan.clearing.allocations {
            if let Some(held) = all.get_mut(&allocation.id.pod.namespace) {
                held.granted += allocation.grant;
                held.price = held.price.max(plan.clearing.price);
            }
        }
    }
    for (id, restrained) in restraints {
        if let Some(held) = all.get_mut(&id.pod.namespace) {
            held.restrained += 1;
            held.by = Some(held.by.map_or(restrained.by, |by| by.min(restrained.by)));
        }
    }
    all
}

impl PolicyView {
    /// The status at `now` of a namespace that `takes_part` or not, and holds `held`.
    pub fn said(&self, takes_part: bool, held: &Held, now: Timestamp) -> BudgetPolicyStatus {
        let budgets = held.asked.budget / EffectiveBudget::PARTS;
        let conditions = [self.overcommitted(&held.asked), active(takes_part, held)];
        BudgetPolicyStatus {
            observed_generation: self.generation,
            pods: Some(held.asked.participants),
            budget_used: Some(budgets),
            cpu_held: Some(Quantity::from(held.granted).canonical()),
            price: Some(per_core(held.price)),
            conditions: conditions
                .into_iter()
                .map(|verdict| self.since(verdict, now))
                .collect(),
        }
    }

    /// Whether the namespace asks for more than it was allotted.
    fn overcommitted(&self, asked: &Asked) -> Verdict {
        let allotment = self.allotment();
        let budgets = asked.budget / EffectiveBudget::PARTS;
        let budget = allotment
            .budget
            .filter(|total| asked.budget > total.saturating_mul(EffectiveBudget::PARTS))
            .map(|total| {
                format!("budgets add up to {budgets} of {total}: all count for less, in proportion")
            });
        let floors = allotment.floors.filter(|total| asked.floors > *total);
        let floors = floors.map(|total| {
            let floors = asked.floors;
            format!("floors add up to {floors} of {total}: all are lowered in proportion, down to requests")
        });
        let reason = match (&budget, &floors) {
            (Some(_), Some(_)) => "BudgetsAndFloorsExceeded",
            (Some(_), None) => "BudgetsExceeded",
            (None, Some(_)) => "FloorsExceeded",
            (None, None) => "WithinAllotment",
        };
        let words: Vec<_> = budget.into_iter().chain(floors).collect();
        Verdict {
            kind: "Overcommitted",
            is_so: !words.is_empty(),
            reason,
            message: words.join("; "),
        }
    }

    /// A verdict as a condition: since when it holds is known from the last one.
    fn since(&self, verdict: Verdict, now: Timestamp) -> Condition {
        let status = if verdict.is_so { "True" } else { "False" };
        let before = self.status.conditions.iter();
        let mut before = before.filter(|c| c.type_ == verdict.kind && c.status == status);
        let since = before.next().map(|c| c.last_transition_time.clone());
        Condition {
            type_: verdict.kind.to_owned(),
            status: status.to_owned(),
            reason: verdict.reason.to_owned(),
            message: verdict.message,
            observed_generation: self.generation,
            last_transition_time: since.unwrap_or(Time(now)),
        }
    }
}

/// A condition without its time.
struct Verdict {
    kind: &'static str,
    is_so: bool,
    reason: &'static str,
    message: String,
}

/// Whether pods of the namespace are resized.
fn active(takes_part: bool, held: &Held) -> Verdict {
    let (participants, restrained) = (held.asked.participants, held.restrained);
    let (is_so, reason, message) = if !takes_part {
        let message = "the namespace does not have the label mbcas-injection=enabled";
        (false, "NotLabelled", message.to_owned())
    } else if participants == 0 {
        (false, "NoParticipants", "no pod takes part".to_owned())
    } else if let Some(by) = held.by {
        let message = format!(
            "{restrained} of {participants} pods are not resized, the first cause being {}",
            by.word()
        );
        (restrained < participants, "Restrained", message)
    } else {
        (true, "Resizing", String::new())
    };
    Verdict {
        kind: "Active",
        is_so,
        reason,
        message,
    }
}

/// Budget per core, for people.
fn per_core(price: Price) -> String {
    if price == Price::UNBOUNDED {
        return "unbounded".to_owned();
    }
    let text = format!("{:.2}", price.as_f64() * 1_000.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Whether `new` is worth a write over `seen`, what the cluster has, with what was `tried`
/// last and how long ago: at once where something happened since, once a minute where
/// figures moved or the try was in vain.
pub fn is_due(
    seen: &BudgetPolicyStatus,
    tried: Option<(Duration, &BudgetPolicyStatus)>,
    new: &BudgetPolicyStatus,
) -> bool {
    match tried {
        Some((ago, tried)) if ago < STEADY => events(tried) != events(new),
        _ => seen != new,
    }
}

/// What of a status does not move by itself.
fn events(status: &BudgetPolicyStatus) -> impl PartialEq + '_ {
    let conditions = status.conditions.iter();
    let conditions = conditions.map(|c| (&c.type_, &c.status, &c.reason));
    (
        status.observed_generation,
        status.pods,
        status.budget_used,
        conditions.collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests;
