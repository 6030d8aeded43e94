//! MBCAS as the cluster sees it: every name, label and annotation that MBCAS
//! puts on, or looks for in, a Kubernetes object. Nothing here talks to a cluster.
//!
//! Annotations that *users* write are not here: their grammar is
//! [`mbcas_core::annotations`].

pub mod budget_policy;
pub mod names;
pub mod original;
pub mod participant;
pub mod qos;

pub use budget_policy::{BUDGET_POLICY_NAME, BudgetPolicy, BudgetPolicySpec};
pub use original::{Original, OriginalError};
pub use participant::{NotParticipant, Participation};
