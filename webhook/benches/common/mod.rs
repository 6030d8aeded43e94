//! What both programs measure with.

use std::sync::Arc;

use mbcas_webhook::routes::Judge;
use mbcas_webhook::{AgentSpec, Policy};

/// A review of a pod as an API server sends it, byte for byte.
pub(crate) const REVIEW: &[u8] = include_bytes!("../review.json");

/// Injects what the twin under `tests/twin` injects too. Nothing that it is asked makes an event.
pub(crate) fn judge() -> Arc<Judge> {
    let agent = AgentSpec::usual("registry.example.org/mbcas-demand-agent:1.2.3");
    Judge::alone(Policy::new(agent, "64").unwrap())
}
