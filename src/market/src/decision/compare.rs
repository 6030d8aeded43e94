//! Where two plans differ, field by field.
//!
//! A plan is told as a set of facts. Every type is taken apart whole, so that a new field does
//! not compile before it is compared.

use std::collections::BTreeSet;
use std::fmt;

use mbcas_core::ContainerId;

use crate::clear::{Allocation, Clearing};
use crate::ledger::{Entry, Ledger};
use crate::plan::Plan;

/// Where a plan that was recorded and its replay differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// About which container; absent: about the node.
    pub container: Option<ContainerId>,
    /// Which field.
    pub field: &'static str,
    /// What was recorded; `nothing` where the record has none.
    pub recorded: String,
    /// What the replay says; `nothing` where it has none.
    pub replayed: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            container,
            field,
            recorded,
            replayed,
        } = self;
        if let Some(container) = container {
            write!(f, "{container}: ")?;
        }
        write!(
            f,
            "{field} is recorded as {recorded} and replayed as {replayed}"
        )
    }
}

/// Finds the first difference: of the node before those of containers, by name.
///
/// # Errors
/// That difference.
pub(super) fn compare(recorded: &Plan, replayed: &Plan) -> Result<(), Difference> {
    if recorded == replayed {
        return Ok(());
    }
    let lists = [recorded, replayed].map(order);
    let (recorded, replayed) = (facts(recorded), facts(replayed));
    let Some(Fact {
        container, field, ..
    }) = recorded.symmetric_difference(&replayed).next()
    else {
        let [recorded, replayed] = lists;
        return Err(Difference {
            container: None,
            field: "order",
            recorded,
            replayed,
        });
    };
    let told = |all: &BTreeSet<Fact<'_>>, others: &BTreeSet<Fact<'_>>| {
        let is_meant = |fact: &&Fact<'_>| (&fact.container, &fact.field) == (container, field);
        let fact = all.difference(others).find(is_meant);
        fact.map_or_else(|| "nothing".to_owned(), |fact| fact.value.clone())
    };
    Err(Difference {
        container: container.cloned(),
        field,
        recorded: told(&recorded, &replayed),
        replayed: told(&replayed, &recorded),
    })
}

/// One thing that a plan says.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Fact<'a> {
    container: Option<&'a ContainerId>,
    field: &'static str,
    value: String,
}

/// The facts of one container, or of the node.
struct Facts<'a> {
    all: BTreeSet<Fact<'a>>,
    container: Option<&'a ContainerId>,
}

impl<'a> Facts<'a> {
    fn of(&mut self, container: &'a ContainerId) -> &mut Self {
        self.container = Some(container);
        self
    }

    fn say(&mut self, field: &'static str, value: &impl fmt::Debug) -> &mut Self {
        self.all.insert(Fact {
            container: self.container,
            field,
            value: format!("{value:?}"),
        });
        self
    }

    fn clearing(&mut self, clearing: &'a Clearing) {
        let Clearing {
            allocations,
            price,
            capacity,
            floors,
            granted,
            headroom,
            feasible,
        } = clearing;
        self.say("price", price)
            .say("cleared capacity", capacity)
            .say("floors", floors)
            .say("granted", granted)
            .say("headroom", headroom)
            .say("feasible", feasible);
        for allocation in allocations {
            let Allocation {
                id,
                bid,
                need,
                grant,
                reasoning,
                is_short,
                protected,
                limit,
                limit_reason,
            } = allocation;
            self.of(id)
                .say("bid", bid)
                .say("need", need)
                .say("grant", grant)
                .say("reason of the grant", reasoning)
                .say("shortness", is_short)
                .say("protected", protected)
                .say("limit", limit)
                .say("reason of the limit", limit_reason);
        }
    }

    fn ledger(&mut self, ledger: &'a Ledger) {
        let Ledger {
            entries,
            capacity,
            now,
        } = ledger;
        self.say("memory's capacity", capacity)
            .say("memory's time", now);
        for (id, entry) in entries {
            let Entry {
                demand,
                at,
                estimate,
                claims,
                standing,
                patience,
                written,
                waiting,
            } = entry;
            self.of(id)
                .say("smoothed demand", demand)
                .say("memory's time", at)
                .say("estimate", estimate)
                .say("claims", claims)
                .say("standing", standing)
                .say("patience", patience)
                .say("last write", written)
                .say("waiting", waiting);
        }
    }
}

fn facts(plan: &Plan) -> BTreeSet<Fact<'_>> {
    let Plan {
        capacity,
        clearing,
        writes,
        held,
        conditions,
        ledger,
    } = plan;
    let mut facts = Facts {
        all: BTreeSet::new(),
        container: None,
    };
    facts
        .say("capacity", capacity)
        .say("conditions", conditions)
        .ledger(ledger);
    facts.container = None;
    facts.clearing(clearing);
    for write in writes {
        facts.of(&write.id).say("write", write);
    }
    for (id, reason) in held {
        facts.of(id).say("hold", reason);
    }
    facts.all
}

/// Who stands where in the lists of `plan`.
fn order(plan: &Plan) -> String {
    let allocations = plan.clearing.allocations.iter().map(|one| &one.id);
    let writes = plan.writes.iter().map(|write| &write.id);
    let held = plan.held.iter().map(|(id, _)| id);
    let lists: [Vec<&ContainerId>; 3] = [allocations.collect(), writes.collect(), held.collect()];
    format!("{lists:?}")
}
