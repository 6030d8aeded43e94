//! The controller: every 15 seconds it reads each pod's demand, clears each
//! node's CPU market and resizes what the market says.
//!
//! ```text
//!  cluster ──▶ discover ──┐
//!  agents  ──▶ demand ────┼──▶ market::plan ──▶ actuate ──▶ pods/resize
//!  kubelets ─▶ kubelets ──┘     (pure)            │
//!                                              observe ──▶ log, /metrics
//! ```
//!
//! [`cycle`] is that picture in code. There is one writer, chosen by a [`lease`].

pub mod actuate;
pub mod args;
pub mod cluster;
pub mod cycle;
pub mod demand;
pub mod discover;
#[cfg(test)]
mod fake;
pub mod kubelet;
pub mod kubelets;
pub mod lease;
pub mod metrics;
mod observe;
pub mod report;
pub mod run;
pub mod switch;
pub mod unenforced;
