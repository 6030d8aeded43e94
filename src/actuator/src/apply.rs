//! Sending a planned resize to the API server.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use kube::core::Status;
use thiserror::Error;

use crate::plan::{ResizePlan, plan};
use crate::refusal::Refusal;
use crate::request::ResizeRequest;

/// How often [`resize`] reads again after a conflict before it gives up.
const ATTEMPTS: u32 = 5;

/// What the API server has accepted.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The pod's generation with the new spec; a status that observed an older one says nothing about it.
    pub generation: Option<i64>,
    /// The pod as the server returned it.
    pub pod: Box<Pod>,
}

/// Why a resize was not accepted, by what the caller can do about it.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// Refused before it was sent.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The pod changed between reading and writing: read again.
    #[error("pod {0} changed while it was being resized; reading it again may help")]
    Stale(String),
    /// There is no such pod, or another one has its name.
    #[error("there is no pod {0}, or another one has taken its name")]
    Gone(String),
    /// The API server has no `pods/resize`.
    #[error(
        "the API server does not serve pods/resize: Kubernetes 1.33 or later has it switched on"
    )]
    Unsupported,
    /// Another resizer owns the field.
    #[error("pod {pod} is resized by another manager: {message}")]
    Contested {
        /// The pod.
        pod: String,
        /// The server's words, which name the manager and the field.
        message: String,
    },
    /// The node can never hold it.
    #[error("the node of pod {pod} cannot hold this: {message}")]
    Infeasible {
        /// The pod.
        pod: String,
        /// The server's words.
        message: String,
    },
    /// Not allowed: permissions, a quota, a LimitRange, a policy.
    #[error("resizing pod {pod} is forbidden: {message}")]
    Forbidden {
        /// The pod.
        pod: String,
        /// The server's words.
        message: String,
    },
    /// The values are wrong.
    #[error("resizing pod {pod} is invalid: {message}")]
    Invalid {
        /// The pod.
        pod: String,
        /// The server's words.
        message: String,
    },
    /// The API server is busy: wait at least this long.
    #[error("the API server is busy; it asks to wait {0:?}")]
    Busy(Duration),
    /// Anything else: the connection, an unexpected answer.
    #[error("resizing pod {pod} failed: {source}")]
    Failed {
        /// The pod.
        pod: String,
        /// The cause.
        source: Box<kube::Error>,
    },
}

impl ApplyError {
    /// A word for metrics, from a closed set.
    pub const fn outcome(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Stale(_) => "stale",
            Self::Gone(_) => "gone",
            Self::Unsupported => "unsupported",
            Self::Contested { .. } => "contested",
            Self::Infeasible { .. } => "infeasible",
            Self::Forbidden { .. } => "forbidden",
            Self::Invalid { .. } => "invalid",
            Self::Busy(_) => "busy",
            Self::Failed { .. } => "failed",
        }
    }
}

/// Sends `plan`; with `dry_run` the server checks everything and keeps nothing.
///
/// # Errors
/// [`ApplyError`], never [`ApplyError::Refused`].
pub async fn apply(
    pods: &Api<Pod>,
    plan: &ResizePlan,
    dry_run: bool,
) -> Result<Applied, ApplyError> {
    let mut params = PatchParams::apply(&plan.manager);
    params.force = plan.force;
    params.dry_run = dry_run;
    match pods
        .patch_resize(&plan.pod, &params, &Patch::Apply(&plan.patch))
        .await
    {
        Ok(pod) => Ok(Applied {
            generation: pod.metadata.generation,
            pod: Box::new(pod),
        }),
        Err(error) => Err(explain(error, format!("{}/{}", plan.namespace, plan.pod))),
    }
}

/// Reads the pod, plans, and applies; after a conflict it reads again, at most
/// five times and always the same incarnation. Returns the plan that was carried
/// out; one without changes was not sent.
///
/// # Errors
/// [`ApplyError`]; [`ApplyError::Stale`] only after the last attempt.
pub async fn resize(
    pods: &Api<Pod>,
    name: &str,
    request: &ResizeRequest,
    manager: &str,
    dry_run: bool,
) -> Result<(ResizePlan, Option<Applied>), ApplyError> {
    let mut planned = plan_now(pods, name, request, manager).await?;
    let mut attempt = 1;
    loop {
        if planned.changes.is_empty() {
            return Ok((planned, None));
        }
        let refused = match apply(pods, &planned, dry_run).await {
            Ok(applied) => return Ok((planned, Some(applied))),
            Err(refused @ (ApplyError::Stale(_) | ApplyError::Contested { .. })) => refused,
            Err(other) => return Err(other),
        };
        if attempt == ATTEMPTS {
            return Err(refused);
        }
        tokio::time::sleep(Duration::from_millis(50) * attempt).await;
        attempt += 1;
        let again = plan_now(pods, name, request, manager).await?;
        if again.uid != planned.uid {
            return Err(ApplyError::Gone(format!("{}/{name}", planned.namespace)));
        }
        // The API server looks at owners before it looks at versions, so what was
        // only stale can look contested. It is, if nothing has changed since.
        let is_contested = matches!(refused, ApplyError::Contested { .. });
        if is_contested && again.resource_version == planned.resource_version {
            return Err(refused);
        }
        planned = again;
    }
}

async fn plan_now(
    pods: &Api<Pod>,
    name: &str,
    request: &ResizeRequest,
    manager: &str,
) -> Result<ResizePlan, ApplyError> {
    let pod = pods.get(name).await.map_err(|e| {
        explain(
            e,
            format!("{}/{name}", pods.namespace().unwrap_or_default()),
        )
    })?;
    Ok(plan(&pod, request, manager)?)
}

fn explain(error: kube::Error, pod: String) -> ApplyError {
    let status = match error {
        kube::Error::Api(status) => status,
        other => {
            return ApplyError::Failed {
                pod,
                source: Box::new(other),
            };
        }
    };
    let message = status.message.clone();
    match status.code {
        // A missing pod is named in the details; a missing subresource has none.
        404 if status.details.as_ref().is_none_or(|d| d.name.is_empty()) => ApplyError::Unsupported,
        404 => ApplyError::Gone(pod),
        // The uid is immutable: an apply that names another one meets a replacement.
        // With a stale version, as is usual then, the answer is a plain 409 instead,
        // and the next read finds out.
        422 if message.contains("metadata.uid") => ApplyError::Gone(pod),
        409 if has_cause(&status, "FieldManagerConflict") => ApplyError::Contested { pod, message },
        409 => ApplyError::Stale(pod),
        403 if has_cause(&status, "NodeCapacity") || has_cause(&status, "UnsupportedPlatform") => {
            ApplyError::Infeasible { pod, message }
        }
        401 | 403 => ApplyError::Forbidden { pod, message },
        400 | 422 => ApplyError::Invalid { pod, message },
        429 => ApplyError::Busy(retry_after(&status)),
        _ => ApplyError::Failed {
            pod,
            source: Box::new(kube::Error::Api(status)),
        },
    }
}

fn has_cause(status: &Status, reason: &str) -> bool {
    let causes = status
        .details
        .as_ref()
        .map(|d| d.causes.as_slice())
        .unwrap_or_default();
    causes.iter().any(|cause| cause.reason == reason)
}

fn retry_after(status: &Status) -> Duration {
    let seconds = status.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    Duration::from_secs(u64::from(seconds.max(1)))
}

#[cfg(test)]
mod tests;
