//! What the demo's steps leave for each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::load::Report;

/// What the market grants each service at one moment, in millicores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Grants {
    /// What the node's market may hand out.
    pub(super) capacity: u64,
    /// What the node has for pods.
    pub(super) allocatable: u64,
    /// What the neighbours used, all together.
    pub(super) noise_used: u64,
    /// By service.
    pub(super) services: BTreeMap<String, Granted>,
}

/// One service's part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Granted {
    /// Its budget.
    pub(super) budget: u64,
    /// The least that it may be given.
    pub(super) floor: u64,
    /// What it is granted.
    pub(super) grant: u64,
}

/// Both phases under one mode.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    /// How far MBCAS went.
    pub(super) mode: String,
    /// The first service offered less than its grant, the others more than theirs.
    pub(super) within: Phase,
    /// All offered more than their grants.
    pub(super) saturated: Phase,
}

/// One phase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Phase {
    /// Seconds between the first and the last usage counter.
    pub(super) seconds: f64,
    /// Limits that were written in the two cycles before and while it was measured.
    pub(super) writes: u64,
    /// By service.
    pub(super) services: BTreeMap<String, Observed>,
}

/// What one phase did to one service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Observed {
    /// Its budget.
    pub(super) budget: u64,
    /// Its CPU request, millicores: its floor.
    pub(super) floor: u64,
    /// Demand intensity that the market counted with, mean of the phase.
    pub(super) demand: f64,
    /// Its CPU limit at the end, millicores.
    pub(super) limit: u64,
    /// CPU used, millicores, by the kubelet's counters.
    pub(super) used: u64,
    /// What the load generator saw.
    pub(super) load: Report,
    /// Restarts of the app's container so far.
    pub(super) app_restarts: i64,
    /// Restarts of the agent so far.
    pub(super) agent_restarts: i64,
}
