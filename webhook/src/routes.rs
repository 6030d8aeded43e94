//! What is answered on which path.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};

use crate::admit::{Verdict, judge};
use crate::audit::{self, Audited};
use crate::cache::{self, Cache};
use crate::decide::Decision;
use crate::events::{Note, Notes};
use crate::metrics::Metrics;
use crate::namespace::Held;
use crate::policy::Policy;
use crate::review::{Answer, Outline, Review, ReviewError};
use crate::serve::Routes;
use crate::workloads::{self, Workload};

/// Where the creation of a pod is reviewed.
pub const INJECT: &str = "/inject";
/// Where a workload's author is warned about its pod template.
pub const WORKLOADS: &str = "/workloads";
/// Where changes of budgets are noted.
pub const AUDIT: &str = "/audit";

/// What reviews are judged by.
#[derive(Debug)]
pub struct Judge {
    /// What the operator has decided.
    pub policy: Policy,
    /// What is known of the cluster.
    pub cache: Arc<Cache>,
    /// Where people are told.
    pub notes: Notes,
}

/// Every path.
pub fn router(judge: &Arc<Judge>, metrics: Metrics) -> Router {
    let (inject, workloads, audit) = (Arc::clone(judge), Arc::clone(judge), Arc::clone(judge));
    Routes::new(metrics)
        .at(INJECT, move |review| inject.inject(review))
        .at(WORKLOADS, move |review| workloads.workloads(review))
        .at(AUDIT, move |review| Ok(audit.audit(review)))
        .into_router()
}

impl Judge {
    /// One without a cluster: no namespace has rules, and nobody is told anything.
    pub fn alone(policy: Policy) -> Arc<Self> {
        let (notes, _) = Notes::new();
        let cache = Arc::default();
        Arc::new(Self {
            policy,
            cache,
            notes,
        })
    }

    /// Injects and refuses pods.
    ///
    /// # Errors
    /// [`ReviewError`] where the object is no pod.
    pub fn inject(&self, review: &Review<Outline>) -> Result<Answer, ReviewError> {
        if !review.is_pod_creation() {
            return Ok(Verdict::not_a_pod_creation().into());
        }
        let now = Instant::now();
        let mut namespace = self.cache.namespace(&review.namespace, now);
        // Seen for the second time, a pod is not to be counted twice.
        let counted = cache::holding(&review.object.0.metadata)
            .filter(|holding| self.cache.waits_for(&review.namespace, *holding));
        if let Some(holding) = counted {
            namespace.held.take(holding);
        }
        let verdict = judge(&review.object.0, &self.policy, &namespace)?;
        if !review.is_dry_run {
            if let Some(holding) = verdict.holding
                && counted != Some(holding)
            {
                self.cache.admitted(&review.namespace, holding, now);
            }
            if let Some(note) = skipped(&verdict, review) {
                self.notes.note(note);
            }
        }
        Ok(verdict.into())
    }

    /// Warns about workloads.
    ///
    /// # Errors
    /// [`ReviewError`] where the template is none.
    pub fn workloads(&self, review: &Review<Workload>) -> Result<Answer, ReviewError> {
        let mut namespace = self.cache.namespace(&review.namespace, Instant::now());
        // Its own pods run already, or will go as new ones come: what is left says nothing here.
        namespace.held = Held::default();
        let warnings = workloads::warnings(review, &self.policy, &namespace)?;
        let word = if warnings.is_empty() {
            "fine"
        } else {
            "warned"
        };
        Ok(Answer::allow("allow", word).with_warnings(warnings))
    }

    /// Notes changes of budgets.
    pub fn audit(&self, review: &Review<Audited>) -> Answer {
        match audit::note(review) {
            Some(note) => {
                self.notes.note(note);
                Answer::allow("allow", "noted")
            }
            None => Answer::allow("allow", "fine"),
        }
    }
}

/// What the owner of a pod is told that gets no sidecar where one might be expected.
fn skipped(verdict: &Verdict, review: &Review<Outline>) -> Option<Note> {
    let Decision::Skip(reason) = verdict.decision else {
        return None;
    };
    let text = reason.advice()?.to_owned();
    Some(Note {
        regarding: owner(&review.object.0, &review.namespace)?,
        reason: "NotInjected",
        action: "Admit",
        text: format!("{}: {text}", reason.as_str()),
        is_warning: false,
        is_single: false,
    })
}

/// Who made the pod. The pod itself is not there yet.
fn owner(pod: &Pod, namespace: &str) -> Option<ObjectReference> {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true))?;
    Some(ObjectReference {
        api_version: Some(owner.api_version.clone()),
        kind: Some(owner.kind.clone()),
        name: Some(owner.name.clone()),
        namespace: Some(namespace.to_owned()),
        uid: Some(owner.uid.clone()),
        ..ObjectReference::default()
    })
}

#[cfg(test)]
mod tests;
