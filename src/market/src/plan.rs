//! One cycle of one node, decided: which limits to write, in which order, and
//! why the others stay.

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use mbcas_core::{ContainerId, MilliCpu};

use crate::capacity::capacity;
use crate::clear::{Clearing, Seat, proportional};
use crate::guard::{Bench, Direction, HoldReason, Verdict, judge};
use crate::input::{NodeSnapshot, Participant};
use crate::ledger::Ledger;
use crate::policy::{Policy, Rule};
use crate::reason::Reasoning;

/// One limit to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Whose limit.
    pub id: ContainerId,
    /// What it is; absent: there is none.
    pub from: Option<MilliCpu>,
    /// What it shall be, a multiple of [`MilliCpu::QUANTUM`].
    pub to: MilliCpu,
    /// Why the clearing wanted this. A guardrail may have left `to` short of
    /// the grant; the next plans go on from there.
    pub reason: Reasoning,
}

impl Write {
    /// Whether it is less or more than before.
    pub fn direction(&self) -> Direction {
        match self.from {
            Some(from) if from < self.to => Direction::Grow,
            _ => Direction::Shrink,
        }
    }

    /// How much it changes; nothing where there was no limit before.
    pub fn delta(&self) -> MilliCpu {
        self.from
            .map_or(MilliCpu::ZERO, |from| from.abs_diff(self.to))
    }
}

/// What somebody should know about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The floors are more than the market has: nobody gets more than its floor.
    FloorsAboveCapacity {
        /// Σ of the floors.
        floors: MilliCpu,
        /// What the market has.
        capacity: MilliCpu,
    },
    /// The limits after this plan still add up to more than the market has.
    LimitsAboveCapacity {
        /// Σ of the limits.
        limits: MilliCpu,
        /// What the market has.
        capacity: MilliCpu,
    },
}

impl Condition {
    /// One word, from a closed set, for metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::FloorsAboveCapacity { .. } => "floors_above_capacity",
            Self::LimitsAboveCapacity { .. } => "limits_above_capacity",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FloorsAboveCapacity { floors, capacity } => {
                write!(
                    f,
                    "the floors add up to {floors} and the market has {capacity}: everybody gets its floor and no more"
                )
            }
            Self::LimitsAboveCapacity { limits, capacity } => {
                write!(
                    f,
                    "the limits add up to {limits} and the market has {capacity}: floors, held containers or the largest shrink forbid less for now"
                )
            }
        }
    }
}

/// What one cycle does on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What the market had to hand out.
    pub capacity: MilliCpu,
    /// Who is promised what, and why.
    pub clearing: Clearing,
    /// What to write: shrinks first, the one that frees most before the others,
    /// then growth, the largest first. Growth relies on the shrinks before it.
    pub writes: Vec<Write>,
    /// Whose limit differs from its clearing and stays, ordered by id.
    pub held: Vec<(ContainerId, HoldReason)>,
    /// What somebody should know.
    pub conditions: Vec<Condition>,
    /// What to remember. It has the writes noted as done; see [`Ledger::take_back`].
    pub ledger: Ledger,
}

/// Decides one cycle of one node: smooth the bids, clear, guard, order.
///
/// `now` is read from any clock that does not go backwards, always the same
/// one; `ledger` is that of the node's last plan, empty at first.
///
/// After the plan the limits add up to at most the capacity, unless floors,
/// held containers or the largest shrink forbid it; a condition says so then,
/// and nobody grows above its floor meanwhile.
pub fn plan(snapshot: &NodeSnapshot, ledger: &Ledger, policy: &Policy, now: Duration) -> Plan {
    let mut memory = ledger.observe(snapshot, policy, now);
    let requests = snapshot
        .participants
        .values()
        .map(|observed| observed.request);
    let raw = capacity(snapshot.supply, requests, &snapshot.non_participants);
    let capacity = memory.steady_capacity(raw, policy);
    let clearing = cleared(snapshot, &memory, policy, capacity);
    let (verdicts, limits) = guarded(snapshot, &memory, policy, now, &clearing);

    let (mut writes, mut held) = (Vec::new(), Vec::new());
    let participants = snapshot
        .participants
        .iter()
        .zip(&clearing.allocations)
        .zip(verdicts);
    for (((id, observed), allocation), verdict) in participants {
        match verdict {
            Verdict::Stay => {}
            Verdict::Hold(reason) => held.push((id.clone(), reason)),
            Verdict::Write(to) => {
                let reason = allocation.reasoning;
                writes.push(Write {
                    id: id.clone(),
                    from: observed.limit,
                    to,
                    reason,
                });
            }
        }
    }
    writes.sort_by_key(|w| (w.direction(), w.from.is_some(), Reverse(w.delta())));
    for write in &writes {
        memory.note(write, now);
    }
    let conditions = conditions(&clearing, limits);
    Plan {
        capacity,
        clearing,
        writes,
        held,
        conditions,
        ledger: memory,
    }
}

/// The clearing of the snapshot. The bounds are in order and the containers
/// are in a map, so that nothing can be refused.
fn cleared(
    snapshot: &NodeSnapshot,
    memory: &Ledger,
    policy: &Policy,
    capacity: MilliCpu,
) -> Clearing {
    let participants: Vec<Participant> = snapshot
        .participants
        .iter()
        .map(|(id, observed)| Participant {
            id: id.clone(),
            budget: observed.budget,
            demand: memory.demand(id).unwrap_or(observed.demand),
            floor: observed.floor(),
            cap: observed.cap(snapshot.supply.allocatable),
        })
        .collect();
    match policy.settings().rule {
        Rule::Proportional => proportional(capacity, participants.iter().map(Seat::of).collect()),
    }
}

fn guarded(
    snapshot: &NodeSnapshot,
    memory: &Ledger,
    policy: &Policy,
    now: Duration,
    clearing: &Clearing,
) -> (Vec<Verdict>, MilliCpu) {
    let pairs = snapshot.participants.values().zip(&clearing.allocations);
    let judged = pairs.map(|(observed, a)| judge(a, observed, memory.written(&a.id), policy, now));
    Bench {
        wishes: judged.collect(),
        capacity: clearing.capacity,
        policy,
    }
    .settle()
}

fn conditions(clearing: &Clearing, limits: MilliCpu) -> Vec<Condition> {
    let capacity = clearing.capacity;
    let floors = (!clearing.feasible).then_some(Condition::FloorsAboveCapacity {
        floors: clearing.floors,
        capacity,
    });
    let above = (limits > capacity).then_some(Condition::LimitsAboveCapacity { limits, capacity });
    floors.into_iter().chain(above).collect()
}

#[cfg(test)]
mod tests;
