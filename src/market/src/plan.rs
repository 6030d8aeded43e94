//! One cycle of one node, decided: which limits to write, in which order, and
//! why the others stay.

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use mbcas_core::annotations::Mode;
use mbcas_core::{ContainerId, Demand, MilliCpu};
use serde::{Deserialize, Serialize};

use crate::capacity::capacity;
use crate::clear::least::least_restrictive;
use crate::clear::proportional::{Seat, proportional};
use crate::clear::{Allocation, Clearing, Price};
use crate::guard::least::Case;
use crate::guard::proportional::{Bench, judge};
use crate::guard::{Direction, HoldReason, Verdict};
use crate::input::{NodeSnapshot, Observed, Participant};
use crate::ledger::Ledger;
use crate::policy::{Policy, Rule};
use crate::reason::{LimitReason, Reasoning};
use crate::waterline::Waterline;
use crate::weight::{Runner, Weights, delivered};

/// One limit to write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Whose limit.
    pub id: ContainerId,
    /// What it is; absent: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<MilliCpu>,
    /// What it shall be, a multiple of [`MilliCpu::QUANTUM`].
    pub to: MilliCpu,
    /// Why the clearing wanted this. A guardrail may have left `to` short of
    /// the grant; the next plans go on from there.
    pub reason: Reasoning,
    /// Why the limit is to be that.
    pub limit_reason: LimitReason,
    /// Growth that takes what the shrinks of the same plan give: not before they are confirmed.
    pub needs_donor: bool,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// With the limits after this plan the kernel would not give every satisfied
    /// participant what it is promised: guardrails or modes hold a write.
    Unprotected {
        /// How many of them.
        containers: usize,
        /// What they would miss together.
        missing: MilliCpu,
    },
}

impl Condition {
    /// One word, from a closed set, for metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::FloorsAboveCapacity { .. } => "floors_above_capacity",
            Self::LimitsAboveCapacity { .. } => "limits_above_capacity",
            Self::Unprotected { .. } => "unprotected",
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
            Self::Unprotected {
                containers,
                missing,
            } => {
                write!(
                    f,
                    "{containers} containers would miss {missing} of what they are promised: held containers or the largest shrink forbid more for now"
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

impl Plan {
    /// The least demand of `id` that is worth another plan of this node before its turn: a jump
    /// that would be heard, see [`crate::claim`], of somebody whose own limit is below its cap or whose
    /// node is short, so that others may have to give way. None where a jump would bring nothing.
    pub fn jump(&self, snapshot: &NodeSnapshot, id: &ContainerId) -> Option<Demand> {
        let observed = snapshot.participants.get(id)?;
        let cap = observed.cap(snapshot.supply.allocatable);
        let binds = observed.limit.is_some_and(|limit| limit < cap);
        let may = observed.mode == Mode::Auto && !observed.starting;
        let is_short = self.clearing.price > Price::ZERO;
        self.ledger.jump(id).filter(|_| may && (binds || is_short))
    }
}

/// Decides one cycle of one node: smooth the bids, clear, guard, order.
///
/// `now` is read from any clock that does not go backwards, always the same
/// one; `ledger` is that of the node's last plan, empty at first. Cycles may come
/// at any time: what is measured in time is measured on that clock.
///
/// After the plan the promises of the rule hold: by the least-restrictive one the
/// kernel's weights and the limits give each satisfied participant what is protected,
/// whatever the short ones do; by the proportional one the limits add up to at most
/// the capacity. Where guardrails or modes are in the way, a condition says so.
pub fn plan(snapshot: &NodeSnapshot, ledger: &Ledger, policy: &Policy, now: Duration) -> Plan {
    let curves = snapshot.supply.curves();
    let waterline = Waterline::of(snapshot, curves);
    let participants = snapshot.participants.values();
    let requests: Vec<MilliCpu> = participants.map(|observed| observed.request).collect();
    let mut memory = ledger.observe(snapshot, policy, &waterline, now);
    let raw = capacity(snapshot.supply, &requests, &snapshot.non_participants);
    let capacity = memory.steady_capacity(raw, policy);
    let (clearing, verdicts, broken) = match policy.settings().rule {
        Rule::Proportional => by_proportion(snapshot, &memory, policy, capacity),
        Rule::LeastRestrictive => {
            let weights = Weights::of(&requests, curves);
            let clearing = least_restrictive(snapshot, &mut memory, capacity, &weights);
            let verdicts = guarded(snapshot, &mut memory, policy, now, &clearing);
            let broken = unprotected(snapshot, &clearing, &verdicts, &weights);
            (clearing, verdicts, broken)
        }
    };

    let (writes, held) = settled(snapshot, &clearing, verdicts, &mut memory);
    let conditions = floors(&clearing).into_iter().chain(broken).collect();
    Plan {
        capacity,
        clearing,
        writes,
        held,
        conditions,
        ledger: memory,
    }
}

/// The seed's rule and its guard. The bounds are in order and the containers
/// are in a map, so that nothing can be refused.
fn by_proportion(
    snapshot: &NodeSnapshot,
    memory: &Ledger,
    policy: &Policy,
    capacity: MilliCpu,
) -> (Clearing, Vec<Verdict>, Option<Condition>) {
    let participants: Vec<Participant> = snapshot
        .participants
        .values()
        .zip(memory.entries())
        .map(|(observed, (id, entry))| Participant {
            id: id.clone(),
            budget: observed.budget,
            demand: entry.demand(),
            floor: observed.floor(),
            cap: observed.cap(snapshot.supply.allocatable),
        })
        .collect();
    let clearing = proportional(capacity, participants.iter().map(Seat::of).collect());
    let now = memory.now();
    let pairs = snapshot.participants.values().zip(&clearing.allocations);
    let judged = pairs
        .zip(memory.entries())
        .map(|((observed, a), (_, entry))| judge(a, observed, entry.written(), policy, now));
    let bench = Bench {
        wishes: judged.collect(),
        capacity,
        policy,
    };
    let (verdicts, limits) = bench.settle();
    let above = Condition::LimitsAboveCapacity { limits, capacity };
    (clearing, verdicts, (limits > capacity).then_some(above))
}

fn guarded(
    snapshot: &NodeSnapshot,
    memory: &mut Ledger,
    policy: &Policy,
    now: Duration,
    clearing: &Clearing,
) -> Vec<Verdict> {
    let pairs = snapshot.participants.values().zip(&clearing.allocations);
    pairs
        .zip(memory.entries_mut())
        .map(|((observed, allocation), (_, entry))| {
            let case = Case {
                allocation,
                observed,
                allocatable: snapshot.supply.allocatable,
                policy,
                now,
            };
            case.judge(entry)
        })
        .collect()
}

/// Asks the kernel's weight model what becomes of the promises with the limits as
/// they will stand: the short ones at theirs, the others at what is protected. Differences
/// inside a dead-band are as good as done.
fn unprotected(
    snapshot: &NodeSnapshot,
    clearing: &Clearing,
    verdicts: &[Verdict],
    weights: &Weights,
) -> Option<Condition> {
    if clearing.allocations.iter().all(|a| !a.is_short) {
        return None;
    }
    let standing = snapshot.participants.values();
    let standing = standing.zip(&clearing.allocations).zip(verdicts);
    let most = |((observed, allocation), verdict): ((&Observed, &Allocation), &Verdict)| {
        if !allocation.is_short {
            return allocation.protected;
        }
        let limit = match verdict {
            Verdict::Write(to) => *to,
            Verdict::Stay | Verdict::Hold(HoldReason::DeadBand { .. }) => allocation.limit,
            Verdict::Hold(_) => observed.limit.unwrap_or(snapshot.supply.allocatable),
        };
        // No limit is below a floor. What is lent of one its owner may take back at any time.
        if limit <= observed.floor() {
            return limit.min(allocation.grant);
        }
        limit
    };
    let most: Vec<MilliCpu> = standing.map(most).collect();
    let space = clearing.capacity.max(clearing.granted);
    let missing = |weights: &[u64]| {
        let runners = weights.iter().zip(&most);
        let runner = |(weight, most): (&u64, &MilliCpu)| Runner {
            weight: *weight,
            most: *most,
        };
        let runners: Vec<Runner> = runners.map(runner).collect();
        let got = delivered(space, &runners);
        let missing = clearing.allocations.iter().zip(got);
        // A quantum is what rounding may take.
        let missing = missing.map(|(a, got)| a.protected - got);
        let missing = missing.filter(|missing| *missing > MilliCpu::QUANTUM);
        missing.fold((0, MilliCpu::ZERO), |(n, sum), one| (n + 1, sum + one))
    };
    let worst = weights.by_curve().map(missing).max()?;
    (worst.0 > 0).then_some(Condition::Unprotected {
        containers: worst.0,
        missing: worst.1,
    })
}

/// Writes in their order, noted in `memory` as done, and what is held, by id.
fn settled(
    snapshot: &NodeSnapshot,
    clearing: &Clearing,
    verdicts: Vec<Verdict>,
    memory: &mut Ledger,
) -> (Vec<Write>, Vec<(ContainerId, HoldReason)>) {
    let (mut writes, mut held) = (Vec::new(), Vec::new());
    let now = memory.now();
    let participants = snapshot.participants.values().zip(&clearing.allocations);
    let judged = participants.zip(verdicts).zip(memory.entries_mut());
    for (((observed, allocation), verdict), (id, entry)) in judged {
        match verdict {
            Verdict::Stay => {}
            Verdict::Hold(reason) => held.push((id.clone(), reason)),
            Verdict::Write(to) => {
                let write = Write {
                    id: id.clone(),
                    from: observed.limit,
                    to,
                    reason: allocation.reasoning,
                    limit_reason: allocation.limit_reason,
                    needs_donor: allocation.limit_reason.is_shared(),
                };
                entry.note(&write, now);
                writes.push(write);
            }
        }
    }
    writes.sort_by_key(|w| (w.direction(), w.from.is_some(), Reverse(w.delta())));
    (writes, held)
}

fn floors(clearing: &Clearing) -> Option<Condition> {
    (!clearing.feasible).then_some(Condition::FloorsAboveCapacity {
        floors: clearing.floors,
        capacity: clearing.capacity,
    })
}

#[cfg(test)]
mod tests;
