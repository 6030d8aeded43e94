//! Why a grant is what it is, as data.

use std::fmt;

use mbcas_core::MilliCpu;
use serde::{Deserialize, Serialize};

use crate::bid::{Bid, EffectiveBudget};

/// Why a container was granted what it was, and not more or less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reasoning {
    /// It got its bid's part of what lies above all floors.
    Share {
        /// Its floor.
        floor: MilliCpu,
        /// Its bid.
        bid: Bid,
        /// Σ of the bids of all whose cap did not bind.
        bids: u128,
        /// What those shared.
        surplus: MilliCpu,
    },
    /// As [`Reasoning::Share`], but by budget, because nobody had a bid.
    ByBudget {
        /// Its floor.
        floor: MilliCpu,
        /// Its budget.
        budget: EffectiveBudget,
        /// Σ of the budgets of all whose cap did not bind.
        budgets: u128,
        /// What those shared.
        surplus: MilliCpu,
    },
    /// It got what it needs; what it got above that is room for a burst.
    NeedMet {
        /// What it needs.
        need: MilliCpu,
    },
    /// It got what it needs, which is less than its floor; the rest of the floor is lent to others.
    FloorLent {
        /// What it needs.
        need: MilliCpu,
        /// Its floor.
        floor: MilliCpu,
    },
    /// It got its cap; its bid would have brought more.
    CapBinds {
        /// Its cap.
        cap: MilliCpu,
    },
    /// It got its floor; its bid brought less than one quantum above it.
    FloorBinds {
        /// Its floor.
        floor: MilliCpu,
    },
    /// The floors together are more than there is: everybody got its floor and nobody more.
    FloorsInfeasible {
        /// Σ of all floors.
        floors: MilliCpu,
        /// What there is.
        capacity: MilliCpu,
    },
}

impl Reasoning {
    /// One word, from a closed set, for metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Share { .. } => "share",
            Self::ByBudget { .. } => "by_budget",
            Self::NeedMet { .. } => "need",
            Self::FloorLent { .. } => "lent",
            Self::CapBinds { .. } => "cap",
            Self::FloorBinds { .. } => "floor",
            Self::FloorsInfeasible { .. } => "floors_infeasible",
        }
    }
}

impl fmt::Display for Reasoning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share {
                floor,
                bid,
                bids,
                surplus,
            } => {
                let bids = Bid::new(u64::try_from(*bids).unwrap_or(u64::MAX));
                write!(
                    f,
                    "its floor {floor} and, for a bid of {bid} among {bids}, its part of the {surplus} above the floors"
                )
            }
            Self::ByBudget {
                floor,
                budget,
                budgets,
                surplus,
            } => {
                write!(
                    f,
                    "its floor {floor} and, nobody bidding, for a budget of {budget} among {budgets}, its part of the {surplus} above the floors"
                )
            }
            Self::NeedMet { need } => write!(f, "what it needs, {need}, and room above it"),
            Self::FloorLent { need, floor } => {
                write!(
                    f,
                    "what it needs, {need}; the rest of its floor of {floor} is lent until it needs it"
                )
            }
            Self::CapBinds { cap } => write!(f, "its cap {cap}, its bid would have brought more"),
            Self::FloorBinds { floor } => {
                write!(f, "its floor {floor}, its bid brought nothing above it")
            }
            Self::FloorsInfeasible { floors, capacity } => {
                write!(
                    f,
                    "its floor, because all floors together are {floors} and only {capacity} is there"
                )
            }
        }
    }
}

/// Why a limit is no looser, or no tighter, than it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitReason {
    /// The rule makes limits of grants.
    Rule,
    /// Nothing has to be protected from it: its cap.
    Unbound,
    /// It is short, and its weight gives it what its budget would: its cap.
    WeightsSuffice,
    /// It is short, and would take what others were promised: what they leave it.
    Held,
    /// It has what it needs, and could overrun others before the next cycle: what harms nobody, or
    /// what it has earned.
    Overdraft,
    /// It was short until lately: what it needs and room for a burst.
    Recovering,
    /// It has only just started: its cap.
    Starting,
}

impl LimitReason {
    /// Growth to such a limit takes from others what they have to give first.
    pub const fn is_shared(self) -> bool {
        matches!(self, Self::Rule | Self::WeightsSuffice | Self::Held)
    }

    /// One word, from a closed set, for metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Unbound => "unbound",
            Self::WeightsSuffice => "weights",
            Self::Held => "held",
            Self::Overdraft => "overdraft",
            Self::Recovering => "recovering",
            Self::Starting => "starting",
        }
    }
}

impl fmt::Display for LimitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rule => "its grant, by the proportional rule",
            Self::Unbound => "its cap: nobody has to be protected from it",
            Self::WeightsSuffice => "its cap: it is short, and its weight holds it to its grant",
            Self::Held => "held: it is short, and would take what others were promised",
            Self::Overdraft => {
                "what harms nobody, or what it has earned: by itself it could overrun others within a cycle"
            }
            Self::Recovering => "what it needs and room above it: it was short until lately",
            Self::Starting => "its cap: it has only just started",
        })
    }
}
