//! What MBCAS would do, on the pod itself: the annotation `mbcas.dev/recommendation`.
//!
//! It is a write like others, so it is rare: where MBCAS only recommends, at
//! most every five minutes per pod and thirty in a cycle, who has waited longest first.

use std::collections::BTreeMap;
use std::time::Duration;

use mbcas_core::annotations::Mode;
use mbcas_core::quantity::Quantity;
use mbcas_core::{ContainerId, PodId};
use mbcas_market::{Allocation, Plan};
use serde_json::json;

use crate::permit::Restraints;

/// The least time between two writes to one pod.
const PAUSE: Duration = Duration::from_mins(5);

/// How many pods are written to in one cycle: two a second, a tenth of what resizes may take.
const AT_MOST: usize = 30;

/// One pod's annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recommendation {
    /// Which pod.
    pub pod: PodId,
    /// The annotation's value.
    pub text: String,
}

impl Recommendation {
    fn of(allocation: &Allocation) -> Self {
        let value = json!({
            "container": allocation.id.container,
            "limit": Quantity::from(allocation.limit).canonical(),
            "reason": allocation.limit_reason.word(),
        });
        Self {
            pod: allocation.id.pod.clone(),
            text: value.to_string(),
        }
    }
}

/// What was last written to each pod.
#[derive(Clone, Debug, Default)]
pub struct Recommended(BTreeMap<ContainerId, (Duration, String)>);

impl Recommended {
    /// What is to be written at `now`, and notes it as tried.
    pub fn due(
        &mut self,
        plans: &[Plan],
        restraints: &Restraints,
        now: Duration,
    ) -> Vec<Recommendation> {
        let wanted = |id: &ContainerId| {
            let restrained = restraints.get(id);
            restrained.is_some_and(|r| r.mode == Mode::Recommend && !r.is_frozen)
        };
        self.0.retain(|id, _| wanted(id));
        let allocations = plans.iter().flat_map(|plan| &plan.clearing.allocations);
        let allocations = allocations.filter(|allocation| wanted(&allocation.id));
        let mut due: Vec<_> = allocations
            .filter_map(|allocation| {
                let known = self.0.get(&allocation.id);
                let last = known.map(|(at, _)| *at);
                if last.is_some_and(|at| now.saturating_sub(at) < PAUSE) {
                    return None;
                }
                let recommendation = Recommendation::of(allocation);
                let is_new = known.is_none_or(|(_, text)| *text != recommendation.text);
                is_new.then_some((last, &allocation.id, recommendation))
            })
            .collect();
        due.sort_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1)));
        due.truncate(AT_MOST);
        let due = due.into_iter().map(|(_, id, recommendation)| {
            let noted = (now, recommendation.text.clone());
            self.0.insert(id.clone(), noted);
            recommendation
        });
        due.collect()
    }
}

#[cfg(test)]
mod tests;
