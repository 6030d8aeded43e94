//! One decision as it is kept: what [`plan`](crate::plan()) was given and what it said, on one line
//! of JSON, so that anybody can decide again and compare.
//!
//! ```text
//!  snapshot, ledger, policy, now ──▶ plan ──▶ writes ──▶ outcomes
//!  └────────────────────── Decision ──────────────────────────┘
//!                             └── replay: plan again, equal bit for bit?
//! ```
//!
//! ```
//! use std::borrow::Cow;
//! use std::time::Duration;
//! use mbcas_market::decision::{Decision, Turn};
//! use mbcas_market::{Ledger, NodeSnapshot, Policy, plan};
//!
//! let (snapshot, ledger, policy, now) = (NodeSnapshot::default(), Ledger::default(), Policy::default(), Duration::from_secs(15));
//! let plan = plan(&snapshot, &ledger, &policy, now);
//! let decision = Decision {
//!     time: Duration::from_secs(1_800_000_000),
//!     term: 3,
//!     turn: Turn::Cycle,
//!     now,
//!     policy,
//!     snapshot: Cow::Owned(snapshot),
//!     ledger: Cow::Owned(ledger),
//!     plan: Cow::Owned(plan),
//!     outcomes: Default::default(),
//! };
//! let line = decision.line()?;
//! let mut read = Decision::read(&line)?;
//! assert_eq!(read.replay(), Ok(()));
//!
//! read.plan.to_mut().capacity = mbcas_core::MilliCpu::new(10);
//! assert_eq!(read.replay().unwrap_err().to_string(), "capacity is recorded as MilliCpu(10) and replayed as MilliCpu(0)");
//! # Ok::<(), mbcas_market::decision::DecisionError>(())
//! ```

mod compare;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use mbcas_core::ContainerId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::input::NodeSnapshot;
use crate::ledger::Ledger;
use crate::plan::{Plan, plan};
use crate::policy::Policy;

pub use compare::Difference;

/// The number of the format. Another one when a line of before cannot be read any more, or when
/// the same input is decided differently.
pub const FORMAT: u32 = 2;

/// One decision about one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision<'a> {
    /// When it was made, since 1970 in UTC. For people: the market has a clock of its own.
    pub time: Duration,
    /// The term of the leader that made it.
    pub term: i32,
    /// What made it.
    pub turn: Turn,
    /// What `plan` was given: the time on the market's clock.
    pub now: Duration,
    /// What `plan` was given: the rule and its guardrails.
    pub policy: Policy,
    /// What `plan` was given: the node.
    pub snapshot: Cow<'a, NodeSnapshot>,
    /// What `plan` was given: the memory of before.
    pub ledger: Cow<'a, Ledger>,
    /// What `plan` said.
    pub plan: Cow<'a, Plan>,
    /// What became of the plan's writes, in a word for each.
    pub outcomes: BTreeMap<ContainerId, Cow<'a, str>>,
}

/// What makes a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// A cycle over all nodes.
    Cycle,
    /// A demand that jumped between two cycles.
    Early,
}

impl Turn {
    /// One word, from a closed set.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cycle => "cycle",
            Self::Early => "early",
        }
    }
}

/// Why a line is no decision, or a decision no line.
#[derive(Debug, Error)]
pub enum DecisionError {
    /// It is of another format.
    #[error(
        "the decision has format {0} and this program reads format {FORMAT}: use the mbcas of the release that recorded it"
    )]
    Format(u32),
    /// It cannot be read or written down.
    #[error("the decision is no line of a record: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// A line: the number of its format, and what it says.
#[derive(Serialize)]
struct Line<'a> {
    format: u32,
    decision: &'a Decision<'a>,
}

impl Decision<'_> {
    /// Writes it down: one line of JSON without its end, all numbers exact.
    ///
    /// # Errors
    /// [`DecisionError::Malformed`]; none for a decision that was made.
    pub fn line(&self) -> Result<String, DecisionError> {
        let mut text = Vec::new();
        self.append_to(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// As [`Self::line`], into `text`.
    ///
    /// # Errors
    /// As [`Self::line`]; `text` may have part of it then.
    pub fn append_to(&self, text: &mut Vec<u8>) -> Result<(), DecisionError> {
        let line = Line {
            format: FORMAT,
            decision: self,
        };
        Ok(serde_json::to_writer(text, &line)?)
    }

    /// Reads a line.
    ///
    /// # Errors
    /// [`DecisionError::Format`] for a line of another format, [`DecisionError::Malformed`] for
    /// anything else that is no decision.
    pub fn read(line: &str) -> Result<Decision<'static>, DecisionError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        #[derive(Deserialize)]
        struct Read {
            decision: Decision<'static>,
        }
        let Format { format } = serde_json::from_str(line)?;
        if format != FORMAT {
            return Err(DecisionError::Format(format));
        }
        let Read { decision } = serde_json::from_str(line)?;
        Ok(decision)
    }

    /// Decides once more from what was recorded, and compares with the plan that was.
    ///
    /// # Errors
    /// The first [`Difference`].
    pub fn replay(&self) -> Result<(), Difference> {
        let again = plan(&self.snapshot, &self.ledger, &self.policy, self.now);
        compare::compare(&self.plan, &again)
    }
}

#[cfg(test)]
mod tests;
