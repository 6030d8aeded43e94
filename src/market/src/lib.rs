//! The market of one node: who gets how much CPU, why, and which limits to write.
//!
//! ```text
//!  snapshot ─┬─ capacity ───────────────┐
//!            └─ budget × f(demand) = β ─┴─ clear ── guard ── plan ── writes, ordered
//!  ledger ───── smoothed demand ────────┘            │         └──── next ledger
//!          └─── last writes ─────────────────────────┘
//! ```
//!
//! | module | what it does |
//! | --- | --- |
//! | [`capacity`] | what the node's market may hand out beside those who do not take part |
//! | [`bid`] | a budget and a smoothed demand become a bid |
//! | [`clear`] | floors, then shares by bid, up to the caps; exact, in integers, with reasons |
//! | [`guard`] | dead-band, largest shrink, cooldown, no growth without room |
//! | [`plan`](mod@plan) | the cycle as one pure function, the writes in order |
//! | [`need`], [`claim`], [`anomaly`] | how much it could use, what a jump is worth, what is odd about an agent's word |
//! | [`ledger`], [`policy`] | what is remembered; what may be chosen |
//! | [`decision`] | all of that on one line, to be decided again |
//!
//! There is no clock, no log, no cluster and no random number here: the same
//! input gives the same bits, on every machine.
//!
//! Three services with a floor of 100m and equal, full demand share 1800m. The
//! floors take 300m; the other 1500m follow the budgets 600 : 300 : 100.
//!
//! ```
//! use mbcas_core::{Budget, ContainerId, Demand, MilliCpu, PodId};
//! use mbcas_market::{NodeMarketInput, Participant, solve_cpu};
//!
//! let seat = |name: &str, budget| Participant {
//!     id: ContainerId::new(PodId { namespace: "shop".into(), name: name.into(), uid: name.into() }, "app"),
//!     budget: Budget::new(budget).unwrap().into(),
//!     demand: Demand::FULL,
//!     floor: MilliCpu::new(100),
//!     cap: MilliCpu::new(2000),
//! };
//! let mut input = NodeMarketInput {
//!     capacity: MilliCpu::new(1800),
//!     participants: vec![seat("web", 600), seat("api", 300), seat("batch", 100)],
//! };
//! let clearing = solve_cpu(&input)?;
//! let grants: Vec<_> = clearing.allocations.iter().map(|a| (a.id.pod.name.as_str(), a.grant.get())).collect();
//! assert_eq!(grants, [("api", 550), ("batch", 250), ("web", 1000)]);
//! assert!((clearing.price.as_f64() - 0.667).abs() < 0.001); // a budget of 1000 for 1500m
//!
//! // web is capped at 700m: what it leaves goes to the others, again 300 : 100.
//! input.participants[0].cap = MilliCpu::new(700);
//! let clearing = solve_cpu(&input)?;
//! let reasons: Vec<_> = clearing.allocations.iter().map(|a| (a.grant.get(), a.reasoning.word())).collect();
//! assert_eq!(reasons, [(780, "share"), (320, "share"), (700, "cap")]);
//! # Ok::<(), mbcas_market::MarketError>(())
//! ```

pub mod allotment;
pub mod anomaly;
pub mod bid;
pub mod capacity;
pub mod claim;
pub mod clear;
pub mod decision;
mod enforce;
pub mod error;
pub mod example;
pub mod guard;
mod headroom;
pub mod input;
pub mod ledger;
pub mod need;
pub mod plan;
pub mod policy;
pub mod pour;
pub mod rank;
pub mod reason;
pub mod smooth;
pub mod standing;
mod waterline;
pub mod weight;

pub use allotment::{Allotment, Asked, allot};
pub use anomaly::Anomaly;
pub use bid::{Bid, EffectiveBudget};
pub use clear::{Allocation, Clearing, Price, solve_cpu};
pub use error::{MarketError, PolicyError};
pub use guard::{Direction, HoldReason};
pub use input::{
    NodeMarketInput, NodeSnapshot, NodeSupply, NonParticipant, Observed, Participant, Usage,
};
pub use ledger::{Ledger, Written};
pub use plan::{Condition, Plan, Write, plan};
pub use policy::{Policy, Rule};
pub use rank::spend;
pub use reason::{LimitReason, Reasoning};

/// The examples of the page about the mechanism, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/mechanism.md")]
struct Mechanism;
