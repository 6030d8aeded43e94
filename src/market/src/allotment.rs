//! What a namespace's participants may have together, on all nodes.
//!
//! A budget belongs to the namespace's allotment and never to the pod alone.
//! Admission looks at totals too, but early and with two replicas that do not
//! know of each other; here is where they hold: budgets that add up to more
//! than the allotment are scaled, all alike, and so are floors. So a workload
//! gains nothing by being split into more pods.

use std::collections::BTreeMap;

use mbcas_core::MilliCpu;

use crate::bid::EffectiveBudget;
use crate::input::NodeSnapshot;

/// The bounds of one namespace; absent: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allotment {
    /// What budgets may add up to, in budgets.
    pub budget: Option<u64>,
    /// What floors may add up to. A floor is not scaled below its request,
    /// which the scheduler promised.
    pub floors: Option<MilliCpu>,
}

/// What a namespace's participants ask for together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// How many there are.
    pub participants: u32,
    /// Σ of their budgets, in thousandths.
    pub budget: u64,
    /// Σ of their floors.
    pub floors: MilliCpu,
}

impl Allotment {
    /// Whether `asked` is more than it gives.
    pub fn is_exceeded_by(&self, asked: &Asked) -> bool {
        self.budget
            .is_some_and(|total| asked.budget > thousandths(total))
            || self.floors.is_some_and(|total| asked.floors > total)
    }

    fn budget(&self, asked: &Asked, budget: EffectiveBudget) -> EffectiveBudget {
        let total = self.budget.map_or(u64::MAX, thousandths);
        if asked.budget <= total {
            return budget;
        }
        let scaled = u128::from(budget.thousandths()) * u128::from(total);
        let scaled = scaled / u128::from(asked.budget.max(1));
        EffectiveBudget::from_thousandths(u64::try_from(scaled).unwrap_or(u64::MAX))
    }

    fn floor(&self, asked: &Asked, floor: MilliCpu) -> MilliCpu {
        match self.floors {
            Some(total) if asked.floors > total => floor.scaled(total.get(), asked.floors.get()),
            _ => floor,
        }
    }
}

/// Scales budgets and floors in `snapshots` to what their namespaces may have,
/// and returns what each namespace asked for before.
pub fn allot(
    snapshots: &mut [NodeSnapshot],
    allotments: &BTreeMap<String, Allotment>,
) -> BTreeMap<String, Asked> {
    let mut asked: BTreeMap<String, Asked> = BTreeMap::new();
    for (id, observed) in snapshots.iter().flat_map(|s| &s.participants) {
        // Not `entry`: a name is copied once for each namespace and not for each pod.
        let sum = match asked.get_mut(&id.pod.namespace) {
            Some(sum) => sum,
            None => asked.entry(id.pod.namespace.clone()).or_default(),
        };
        sum.participants += 1;
        sum.budget = sum.budget.saturating_add(observed.budget.thousandths());
        sum.floors += observed.floor();
    }
    for (id, observed) in snapshots.iter_mut().flat_map(|s| &mut s.participants) {
        let (Some(allotment), Some(asked)) = (
            allotments.get(&id.pod.namespace),
            asked.get(&id.pod.namespace),
        ) else {
            continue;
        };
        if allotment.is_exceeded_by(asked) {
            let floor = allotment.floor(asked, observed.floor());
            observed.budget = allotment.budget(asked, observed.budget);
            observed.min_cpu = observed.min_cpu.map(|min| min.min(floor));
            observed.is_scaled = true;
        }
    }
    asked
}

const fn thousandths(budget: u64) -> u64 {
    budget.saturating_mul(EffectiveBudget::PARTS)
}

#[cfg(test)]
mod tests;
