//! The controller: every 15 seconds it reads each pod's demand, clears each
//! node's CPU market and resizes what the market says.
//!
//! ```text
//!  cluster ──▶ discover ──┐
//!  agents  ──▶ demand ────┼─▶ rules ─▶ market::plan ─▶ quotas ─▶ actuate ─▶ pods/resize
//!  kubelets ─▶ kubelets ──┘             (pure)                     │
//!                                                  observe ──▶ log, /metrics
//!                                                  leaving ──▶ originals, for who is let go
//!                                                  scribe ───▶ statuses, Events
//!                                                  record ───▶ /decisions
//! ```
//!
//! [`cycle`] is that picture in code; between two cycles nodes are cleared on which demand
//! [`jumps`]. There is one writer, chosen by a [`lease`].
//!
//! | rules | say |
//! | --- | --- |
//! | [`budget_policies`] | what a namespace's pods may ask for, each and together |
//! | [`constraints`] | what LimitRanges and ResourceQuotas would refuse |
//! | [`permit`] | how far MBCAS goes with each: [`switch`], [`canary`], [`autoscalers`], [`unenforced`] |

pub mod actuate;
pub mod args;
pub mod autoscalers;
pub mod budget_policies;
pub mod canary;
pub mod cluster;
pub mod constraints;
pub mod cycle;
pub mod demand;
pub mod discover;
#[cfg(test)]
mod fake;
pub mod govern;
pub mod ids;
pub mod jumps;
pub mod kubelet;
pub mod kubelets;
pub mod lease;
pub mod leaving;
pub mod metrics;
pub mod monitoring;
mod observe;
pub mod permit;
pub mod recommend;
pub mod record;
pub mod report;
pub mod run;
pub mod scribe;
pub mod senses;
pub mod status;
pub mod switch;
pub mod unenforced;
