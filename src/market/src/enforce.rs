//! Least-restrictive enforcement: limits as loose as the promises allow.
//!
//! A grant is a promise. A limit is a tool that keeps promises to *others*, and
//! costs its owner what others leave idle. So one binds only where the kernel's
//! weights would not deliver by themselves.
//!
//! Let the kernel fill the node like water: at level `θ` a container of weight
//! `w` has `w·θ`, or its limit, or what it wants where that is less. A satisfied
//! container `j` gets its protected amount `T_j` when `θ ≥ T_j / w_j`, and a short
//! one its grant when `θ ≥ g_s / w_s`. Let `θ*` be the highest of all these:
//! everybody is served exactly when the short ones take, at that level, no more
//! than is left to them:
//!
//! ```text
//!   Σ_short min(limit_s, w_s·θ*)  ≤  capacity − Σ_satisfied T_j
//! ```
//!
//! Who takes no more than its grant there needs no limit: its weight is its
//! limit. The others begin at their grants and share what the inequality leaves,
//! by bid, until it is an equality. Then no limit can be loosened without
//! breaking a promise, and none is lower than its grant.
//!
//! First it is asked whether no limit at all would do, if short ones were content
//! with nine tenths of their grants: weights that nearly follow the budgets are left alone.
//!
//! Satisfied containers have no limit either, unless one by itself, gone
//! greedy, would push another below its protected amount before the next cycle;
//! as far as that other is entitled to it, and does not have it of what others leave idle.
//! Such a one may have what harms nobody, and overdraw by what it has earned, see [`overdraft`].

use mbcas_core::MilliCpu;

use crate::pour::{Taker, pour};
use crate::weight::{Level, Weights};

/// Short ones that get so many percent of their grants by weight alone are left without limits.
const NEARLY_PERCENT: u64 = 90;

/// Where limits have to be set they deliver the grants.
const WHOLE_PERCENT: u64 = 100;

/// One participant, in quanta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Party {
    pub(crate) bid: u64,
    pub(crate) floor: u64,
    pub(crate) cap: u64,
    pub(crate) grant: u64,
    /// What it gets whatever the short ones do; at most its grant. Of a short one: nothing is protected.
    pub(crate) protected: u64,
    /// What it could have if all wanted all.
    pub(crate) entitlement: u64,
    pub(crate) is_short: bool,
    /// What a satisfied one may take if it could harm others; at most its cap.
    pub(crate) overdraft: u64,
}

/// The limit of one participant, and what makes it no looser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounded {
    pub(crate) limit: u64,
    pub(crate) by: Binding,
}

/// What a limit is for. Ordered: the tighter one is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Binding {
    /// Nothing but its cap.
    Cap,
    /// It is short, and the kernel holds it to its grant by its weight.
    Weights,
    /// It could overrun others before the next cycle.
    Overdraft,
    /// It would take what others were promised.
    Grant,
}

/// The loosest limits that keep the promises by every curve of `weights`.
///
/// `capacity` in quanta; Σ of protected amounts and of short ones' grants is at most that.
pub(crate) fn enforce(capacity: u64, parties: &[Party], weights: &Weights) -> Vec<Bounded> {
    let mut limits: Vec<Bounded> = parties
        .iter()
        .map(|party| Bounded {
            limit: party.cap,
            by: Binding::Cap,
        })
        .collect();
    for weights in weights.by_curve() {
        let node = Node {
            capacity,
            parties,
            weights,
        };
        for (limit, bounded) in limits.iter_mut().zip(node.bounded()) {
            *limit = Bounded {
                limit: limit.limit.min(bounded.limit),
                by: limit.by.max(bounded.by),
            };
        }
    }
    limits
}

/// What a satisfied container may take that could harm others: four times what it
/// needed at least in each of the last four windows, and as much again up to
/// 600m; nothing before there were four.
///
/// Earned by steadiness: with the last peak in the place of the least need, one that wakes
/// greedy had others at a p99 of 4.9 s for half a minute, so at 0.12 s (research of the control loop, §2).
pub(crate) fn overdraft(least: Option<MilliCpu>) -> MilliCpu {
    let least = least.unwrap_or_default();
    least.scaled(4, 1) + least.scaled(5, 1).min(MilliCpu::new(600))
}

/// A node under one curve.
struct Node<'a> {
    capacity: u64,
    parties: &'a [Party],
    weights: &'a [u64],
}

impl Node<'_> {
    fn bounded(&self) -> Vec<Bounded> {
        let short = self.short();
        let taken: Vec<u64> = self.indices().map(|i| short[i].limit).collect();
        let overrun = Overrun::new(self, &taken);
        self.indices()
            .map(|i| {
                if self.parties[i].is_short {
                    short[i]
                } else {
                    overrun.bounded(i)
                }
            })
            .collect()
    }

    fn indices(&self) -> std::ops::Range<usize> {
        0..self.parties.len()
    }

    /// The level at which everybody is served, short ones with so many percent of their grants.
    fn required(&self, percent: u64) -> Level {
        let level = |i: usize| {
            let party = &self.parties[i];
            if party.is_short {
                Level::of(party.grant * percent, self.weights[i] * 100)
            } else {
                Level::of(party.protected, self.weights[i])
            }
        };
        self.indices().map(level).max().unwrap_or(Level::ZERO)
    }

    /// The limits of the short ones; the others' stand at their protected amounts.
    fn short(&self) -> Vec<Bounded> {
        if self.parties.iter().all(|party| !party.is_short) {
            let at = |party: &Party| Bounded {
                limit: party.protected,
                by: Binding::Cap,
            };
            return self.parties.iter().map(at).collect();
        }
        let nearly = self.short_at(self.required(NEARLY_PERCENT));
        if nearly.iter().all(|bounded| bounded.by != Binding::Grant) {
            return nearly;
        }
        self.short_at(self.required(WHOLE_PERCENT))
    }

    fn short_at(&self, level: Level) -> Vec<Bounded> {
        let protected: u64 = self.satisfied().map(|p| p.protected).sum();
        let mut left = self.capacity.saturating_sub(protected);
        // What each would take at that level without a limit, and what it begins with.
        let reach = |i: usize| level.of_weight(self.weights[i]).min(self.parties[i].cap);
        let begin = |i: usize| self.parties[i].grant.min(reach(i));
        let is_short = |i: &usize| self.parties[*i].is_short;
        left = left.saturating_sub(self.indices().filter(is_short).map(begin).sum());
        let takers: Vec<Taker> = self
            .indices()
            .map(|i| Taker {
                weight: self.parties[i].bid.max(1),
                room: if is_short(&i) { reach(i) - begin(i) } else { 0 },
            })
            .collect();
        let more = pour(left, &takers).taken;
        let bounded = |i: usize| {
            let party = &self.parties[i];
            let limit = begin(i) + more[i];
            match (party.is_short, limit < reach(i)) {
                (false, _) => Bounded {
                    limit: party.protected,
                    by: Binding::Cap,
                },
                // It could take more than that only by breaking a promise.
                (true, true) => Bounded {
                    limit: limit.max(party.floor),
                    by: Binding::Grant,
                },
                (true, false) => Bounded {
                    limit: party.cap,
                    by: Binding::Weights,
                },
            }
        };
        self.indices().map(bounded).collect()
    }

    fn satisfied(&self) -> impl Iterator<Item = &Party> {
        self.parties.iter().filter(|p| !p.is_short)
    }
}

/// Whether one satisfied container, gone greedy alone, harms another.
///
/// Others are served up to the highest level that one of them needs; who is
/// himself the one that needs it is judged by the second highest.
struct Overrun<'a, 'p> {
    node: &'a Node<'p>,
    /// Who needs the highest level, that level, and what all take at it; and without him.
    highest: Option<usize>,
    at_highest: (Level, u64),
    at_second: (Level, u64),
}

impl<'a, 'p> Overrun<'a, 'p> {
    /// `taken`: limits of the short ones, protected amounts of the others.
    fn new(node: &'a Node<'p>, taken: &[u64]) -> Self {
        let satisfied = node.indices().filter(|i| !node.parties[*i].is_short);
        let levels = satisfied.map(|i| {
            let party = &node.parties[i];
            let due = party.protected.min(party.entitlement);
            (Level::of(due, node.weights[i]), i)
        });
        let (highest, second) = levels.fold((None, None), |(highest, second), level| {
            if Some(level) > highest {
                (Some(level), highest)
            } else {
                (highest, second.max(Some(level)))
            }
        });
        let level = |one: Option<(Level, usize)>| one.map_or(Level::ZERO, |(level, _)| level);
        let all_at = |level: Level| {
            let at = |i: usize| taken[i].min(level.of_weight(node.weights[i]));
            (level, node.indices().map(at).sum())
        };
        Self {
            node,
            highest: highest.map(|(_, i)| i),
            at_highest: all_at(level(highest)),
            at_second: all_at(level(second)),
        }
    }

    fn bounded(&self, i: usize) -> Bounded {
        let party = &self.node.parties[i];
        let (level, all) = if self.highest == Some(i) {
            self.at_second
        } else {
            self.at_highest
        };
        let reach = level.of_weight(self.node.weights[i]);
        let others = all - party.protected.min(reach);
        if others + party.cap.min(reach) <= self.node.capacity {
            return Bounded {
                limit: party.cap,
                by: Binding::Cap,
            };
        }
        // Up to here it takes nothing that another is promised.
        let harmless = self.node.capacity.saturating_sub(others);
        let earned = party.overdraft.max(party.protected).max(party.floor);
        Bounded {
            limit: harmless.max(earned).min(party.cap),
            by: Binding::Overdraft,
        }
    }
}

#[cfg(test)]
mod tests;
