//! What is answered on which path.

use axum::Router;

use crate::admit::{Verdict, judge};
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::review::{Answer, Outline, Review, ReviewError};
use crate::serve::Routes;

/// Where the creation of a pod is reviewed.
pub const INJECT: &str = "/inject";

/// Every path.
pub fn router(policy: Policy, metrics: Metrics) -> Router {
    Routes::new(metrics)
        .at(INJECT, move |review| inject(review, &policy))
        .into_router()
}

/// Injects and refuses pods.
///
/// # Errors
/// [`ReviewError`] where the object is no pod.
pub fn inject(review: &Review<Outline>, policy: &Policy) -> Result<Answer, ReviewError> {
    let verdict = if review.is_pod_creation() {
        judge(&review.object.0, policy)?
    } else {
        Verdict::not_a_pod_creation()
    };
    Ok(Answer::try_from(&verdict)?)
}
