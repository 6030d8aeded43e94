//! Warnings where a person typed the mistake.
//!
//! A bad annotation on a Deployment's pod template is refused when the
//! ReplicaSet creates the pod, and shows up in the ReplicaSet's events, where
//! few look. So the template is judged when the workload is applied, by the very
//! code that will judge its pods, and the answer is warnings: never a refusal,
//! as a workload may be applied before its namespace is labelled or its policy
//! is raised.

use serde_json::Value;

use crate::admit::{PodError, admit};
use crate::decide::Decision;
use crate::namespace::Namespace;
use crate::policy::Policy;
use crate::review::Review;
use crate::template::Template;

/// What the author of the workload in `review` is told.
///
/// # Errors
/// [`PodError`] where its template is no pod template.
pub fn warnings(
    review: &Review,
    policy: &Policy,
    namespace: &Namespace,
) -> Result<Vec<String>, PodError> {
    let object = &review.object;
    // Whoever made the workload that makes this one was warned already.
    let template = Template::of(object, &review.kind).filter(|_| !has_controller(object));
    let Some(template) = template else {
        return Ok(Vec::new());
    };
    let verdict = admit(&template.pod, policy, namespace)?;
    let kind = &review.kind;
    Ok(match verdict.decision {
        Decision::Deny(_, faults) => faults
            .iter()
            .map(|fault| format!("mbcas: the pods of this {kind} will be refused: {fault}"))
            .collect(),
        // What a pod is given at its creation is said at its creation.
        Decision::Skip(reason) => reason
            .advice()
            .map(|advice| {
                let code = reason.as_str();
                format!("mbcas: in the pods of this {kind}, {advice} ({code})")
            })
            .into_iter()
            .collect(),
        Decision::Inject => Vec::new(),
    })
}

fn has_controller(object: &Value) -> bool {
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let is_controller = |owner: &Value| owner["controller"] == true;
    owners.is_some_and(|owners| owners.iter().any(is_controller))
}

#[cfg(test)]
mod tests;
