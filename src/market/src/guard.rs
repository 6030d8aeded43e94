//! The guardrails, all of them, after clearing: what one plan may change.
//!
//! One file for each rule, because they guard different promises: by the
//! proportional rule limits may not add up to more than there is, by the
//! least-restrictive one the kernel has to deliver what is protected.

use std::fmt;
use std::time::Duration;

use mbcas_core::MilliCpu;
use mbcas_core::annotations::Mode;
use serde::{Deserialize, Serialize};

pub(crate) mod least;
pub(crate) mod proportional;

/// What a plan does about one participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has what the clearing gave it.
    Stay,
    Hold(HoldReason),
    Write(MilliCpu),
}

/// Since when a change has been wanted that is not made at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    #[serde(skip_serializing_if = "Option::is_none")]
    grow: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trim: Option<Duration>,
}

/// Which way a limit goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Less.
    Shrink,
    /// More.
    Grow,
}

impl Direction {
    /// A word for metrics, from a closed set.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Shrink => "shrink",
            Self::Grow => "grow",
        }
    }
}

/// Why a limit that differs from the clearing's is left alone in this plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// The container is only observed, or only advised.
    Mode(Mode),
    /// The change is too small to be worth a write.
    DeadBand {
        /// The limit that was wanted.
        wanted: MilliCpu,
    },
    /// The last write is too recent.
    Cooldown {
        /// The limit that was wanted.
        wanted: MilliCpu,
        /// How long this still lasts.
        remaining: Duration,
    },
    /// What others hold has to become free first.
    NoRoom {
        /// The limit that was wanted.
        wanted: MilliCpu,
    },
    /// The change has to be wanted for longer.
    Unsettled {
        /// The limit that was wanted.
        wanted: MilliCpu,
        /// How much longer.
        remaining: Duration,
    },
    /// What it has is more than it could use soon.
    Roomy {
        /// The limit that was wanted.
        wanted: MilliCpu,
    },
    /// The writes of this cycle are spent on others that gain more by them.
    WriteBudget {
        /// The limit that was wanted.
        wanted: MilliCpu,
    },
}

impl HoldReason {
    /// One word, from a closed set, for metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Mode(_) => "mode",
            Self::DeadBand { .. } => "dead_band",
            Self::Cooldown { .. } => "cooldown",
            Self::NoRoom { .. } => "no_room",
            Self::Unsettled { .. } => "unsettled",
            Self::Roomy { .. } => "roomy",
            Self::WriteBudget { .. } => "write_budget",
        }
    }
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode(mode) => write!(f, "its mode is {mode}"),
            Self::DeadBand { wanted } => write!(f, "{wanted} is too near to what it has"),
            Self::Cooldown { wanted, remaining } => {
                write!(
                    f,
                    "{wanted} has to wait {} s after the last write",
                    remaining.as_millis().div_ceil(1000)
                )
            }
            Self::NoRoom { wanted } => {
                write!(f, "{wanted} has to wait until others have given way")
            }
            Self::Unsettled { wanted, remaining } => write!(
                f,
                "{wanted} has to be wanted for {} s more",
                remaining.as_millis().div_ceil(1000)
            ),
            Self::Roomy { wanted } => write!(
                f,
                "{wanted} would bring nothing: it has more than it could use soon"
            ),
            Self::WriteBudget { wanted } => {
                write!(f, "{wanted} has to wait: other writes bring more")
            }
        }
    }
}
