//! Warnings where a person typed the mistake.
//!
//! A bad annotation on a Deployment's pod template is refused when the
//! ReplicaSet creates the pod, and shows up in the ReplicaSet's events, where
//! few look. So the template is judged when the workload is applied, by the very
//! code that will judge its pods, and the answer is warnings: never a refusal,
//! as a workload may be applied before its namespace is labelled or its policy
//! is raised.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Deserialize;

use crate::admit::{PodError, judge};
use crate::decide::Decision;
use crate::namespace::Namespace;
use crate::policy::Policy;
use crate::review::{Object, Outline, Review, called};

/// A workload, of which only its owners and the outline of its pods are read.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Workload {
    #[serde(default)]
    metadata: Metadata,
    spec: Option<Spec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    generate_name: Option<String>,
    owner_references: Option<Vec<Owner>>,
}

/// A byte each, so that millions of them are none to worry about.
#[derive(Clone, Debug, Deserialize)]
struct Owner {
    controller: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    template: Option<Outline>,
    job_template: Option<JobTemplate>,
}

#[derive(Clone, Debug, Deserialize)]
struct JobTemplate {
    spec: Option<JobSpec>,
}

#[derive(Clone, Debug, Deserialize)]
struct JobSpec {
    template: Option<Outline>,
}

impl Object for Workload {
    fn name(&self) -> &str {
        called([
            self.metadata.name.as_deref(),
            self.metadata.generate_name.as_deref(),
        ])
    }
}

impl Workload {
    /// Whoever made the workload that makes this one was warned already.
    fn has_controller(&self) -> bool {
        let owners = self.metadata.owner_references.iter().flatten();
        owners
            .into_iter()
            .any(|owner| owner.controller == Some(true))
    }

    /// The pod that it will make, with a controller: it, or what it makes.
    fn pod(&self, kind: &str) -> Option<Box<Pod>> {
        let spec = self.spec.as_ref()?;
        let template = match &spec.job_template {
            Some(job) => job.spec.as_ref()?.template.as_ref(),
            None => spec.template.as_ref(),
        };
        let Outline(mut pod) = template?.clone();
        pod.metadata.owner_references = Some(vec![OwnerReference {
            kind: kind.to_owned(),
            controller: Some(true),
            ..OwnerReference::default()
        }]);
        Some(pod)
    }
}

/// What the author of the workload in `review` is told.
///
/// # Errors
/// [`PodError`] where its template is no pod template.
pub fn warnings(
    review: &Review<Workload>,
    policy: &Policy,
    namespace: &Namespace,
) -> Result<Vec<String>, PodError> {
    let object = &review.object;
    let pod = object
        .pod(&review.kind)
        .filter(|_| !object.has_controller());
    let Some(pod) = pod else {
        return Ok(Vec::new());
    };
    let verdict = judge(&pod, policy, namespace)?;
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

#[cfg(test)]
mod tests;
