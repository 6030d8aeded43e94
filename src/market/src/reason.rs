//! Why a grant is what it is, as data.

use std::fmt;

use mbcas_core::MilliCpu;

use crate::bid::Bid;

/// Why a container was granted what it was, and not more or less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        budget: u64,
        /// Σ of the budgets of all whose cap did not bind.
        budgets: u128,
        /// What those shared.
        surplus: MilliCpu,
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
