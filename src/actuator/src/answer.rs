//! What the API server answered, sorted by what the caller can do about it.

use std::time::Duration;

use kube::core::Status;
use thiserror::Error;

use crate::refusal::Refusal;

/// How long to wait where the server is busy and does not say for how long
/// (its own default, `k8s.io/apiserver/pkg/server/filters`).
const BUSY: Duration = Duration::from_secs(1);

/// Why a resize was not accepted, by what the caller can do about it.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// Refused before it was sent.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The gate let nothing through any more: this writer has to stop.
    #[error("pod {0} was not resized: this writer may not write any more")]
    Stopped(String),
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
    /// Not allowed.
    #[error("resizing pod {pod} is forbidden: {message}")]
    Forbidden {
        /// The pod.
        pod: String,
        /// By what.
        by: Ban,
        /// The server's words.
        message: String,
    },
    /// The values are wrong.
    #[error("resizing pod {pod} is invalid: {message}")]
    Invalid {
        /// The pod.
        pod: String,
        /// Which rule they break.
        rule: Rule,
        /// The server's words.
        message: String,
    },
    /// The API server is busy: wait at least this long.
    #[error("the API server is busy; it asks to wait {0:?}")]
    Busy(Duration),
    /// No answer in time. The write may have happened; only reading tells.
    #[error("no answer about pod {pod} within {after:?}; it may have been resized or not")]
    Unanswered {
        /// The pod.
        pod: String,
        /// How long was waited.
        after: Duration,
    },
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
            Self::Stopped(_) => "not_leading",
            Self::Stale(_) => "stale",
            Self::Gone(_) => "gone",
            Self::Unsupported => "unsupported",
            Self::Contested { .. } => "contested",
            Self::Infeasible { .. } => "infeasible",
            Self::Forbidden { by, .. } => by.word(),
            Self::Invalid { rule, .. } => rule.word(),
            Self::Busy(_) => "busy",
            Self::Unanswered { .. } => "unanswered",
            Self::Failed { .. } => "failed",
        }
    }
}

/// What forbids a resize (403).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ban {
    /// A LimitRange: its minimum, maximum or ratio.
    LimitRange,
    /// A ResourceQuota has no room.
    Quota,
    /// A policy or webhook at admission.
    Admission,
    /// Missing rights, or anything that does not say what it is.
    Rights,
}

impl Ban {
    const fn word(self) -> &'static str {
        match self {
            Self::LimitRange => "limit_range",
            Self::Quota => "quota",
            Self::Admission => "admission",
            Self::Rights => "forbidden",
        }
    }

    /// By the words of `LimitRanger`, `ResourceQuota` and the admission plugins.
    fn of(message: &str) -> Self {
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        if says(&["exceeded quota", "failed quota"]) {
            Self::Quota
        } else if says(&["usage per ", "max limit to request ratio per "]) {
            Self::LimitRange
        } else if says(&["ValidatingAdmissionPolicy", "admission webhook"]) {
            Self::Admission
        } else {
            Self::Rights
        }
    }
}

/// Which rule of a resize the values break (422).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The QoS class would change.
    Qos,
    /// A request or limit would be removed.
    Removal,
    /// Kubernetes 1.33 lowers no memory limit without a restart.
    MemoryDecrease,
    /// The node's kubelet cannot resize.
    NodeSupport,
    /// Static, Windows or pod-level resources: a pod that cannot be resized at all.
    PodKind,
    /// Something else than CPU and memory of a resizable container.
    Immutable,
    /// A limit below its request, or above what the pod has as a whole.
    Amounts,
    /// Anything else.
    Other,
}

impl Rule {
    const fn word(self) -> &'static str {
        match self {
            Self::Qos => "invalid_qos",
            Self::Removal => "invalid_removal",
            Self::MemoryDecrease => "invalid_memory_decrease",
            Self::NodeSupport => "invalid_node",
            Self::PodKind => "invalid_pod",
            Self::Immutable => "invalid_immutable",
            Self::Amounts => "invalid_amounts",
            Self::Other => "invalid",
        }
    }

    /// By the words of `ValidatePodResize` (`pkg/apis/core/validation`).
    fn of(message: &str) -> Self {
        const KNOWN: [(&str, Rule); 14] = [
            ("Pod QOS Class may not change", Rule::Qos),
            ("cannot be removed", Rule::Removal),
            ("memory limits cannot be decreased", Rule::MemoryDecrease),
            ("memory limits cannot be added", Rule::MemoryDecrease),
            (
                "Pod running on node without support for resize",
                Rule::NodeSupport,
            ),
            ("static pods cannot be resized", Rule::PodKind),
            ("windows pods cannot be resized", Rule::PodKind),
            (
                "pods with pod-level resources cannot be resized",
                Rule::PodKind,
            ),
            ("only cpu and memory resources are mutable", Rule::Immutable),
            ("containers may not be renamed", Rule::Immutable),
            (
                "resources for non-sidecar init containers are immutable",
                Rule::Immutable,
            ),
            ("must be less than or equal to", Rule::Amounts),
            ("must be greater than or equal to", Rule::Amounts),
            ("must be specified when", Rule::Amounts),
        ];
        let known = KNOWN.iter().find(|(words, _)| message.contains(words));
        known.map_or(Self::Other, |(_, rule)| *rule)
    }
}

/// Sorts an error answer about `pod`; `retry_after` is the header's, in seconds.
pub(crate) fn explain(error: kube::Error, pod: String, retry_after: Option<u64>) -> ApplyError {
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
        401 | 403 => ApplyError::Forbidden {
            pod,
            by: Ban::of(&message),
            message,
        },
        400 | 422 => ApplyError::Invalid {
            pod,
            rule: Rule::of(&message),
            message,
        },
        429 => ApplyError::Busy(wait(&status, retry_after)),
        // An overloaded server and one that is shutting down say so, too, and how long.
        503 | 504 if retry_after.is_some() => ApplyError::Busy(wait(&status, retry_after)),
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

/// Priority and fairness says it in the header alone, beside a body that is plain text.
fn wait(status: &Status, header: Option<u64>) -> Duration {
    let body = status
        .details
        .as_ref()
        .map_or(0, |d| u64::from(d.retry_after_seconds));
    Duration::from_secs(header.unwrap_or(0).max(body)).max(BUSY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_forbids_is_told_by_the_servers_words() {
        // As Kubernetes 1.37 says them.
        for (message, by) in [
            (
                "pods \"web\" is forbidden: exceeded quota: q, requested: limits.cpu=100m, used: limits.cpu=1, limited: limits.cpu=1",
                Ban::Quota,
            ),
            (
                "pods \"web\" is forbidden: failed quota: q: must specify limits.cpu for: app",
                Ban::Quota,
            ),
            (
                "pods \"web\" is forbidden: maximum cpu usage per Container is 500m, but limit is 600m",
                Ban::LimitRange,
            ),
            (
                "pods \"web\" is forbidden: minimum cpu usage per Pod is 50m, but request is 10m",
                Ban::LimitRange,
            ),
            (
                "pods \"web\" is forbidden: cpu max limit to request ratio per Container is 3, but provided ratio is 4.000000",
                Ban::LimitRange,
            ),
            (
                "pods \"web\" is forbidden: ValidatingAdmissionPolicy 'x' with binding 'x' denied request: no",
                Ban::Admission,
            ),
            (
                "admission webhook \"x.example\" denied the request: no",
                Ban::Admission,
            ),
            (
                "pods \"web\" is forbidden: User \"u\" cannot patch resource \"pods/resize\" in API group \"\"",
                Ban::Rights,
            ),
        ] {
            assert_eq!(Ban::of(message), by, "{message}");
        }
    }

    #[test]
    fn what_is_invalid_is_told_by_the_servers_words() {
        for (message, rule) in [
            (
                "spec: Invalid value: \"Guaranteed\": Pod QOS Class may not change as a result of resizing",
                Rule::Qos,
            ),
            (
                "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
                Rule::Removal,
            ),
            (
                "spec.containers[0].resources.limits: Forbidden: memory limits cannot be decreased unless resizePolicy is RestartContainer",
                Rule::MemoryDecrease,
            ),
            (
                "spec: Forbidden: Pod running on node without support for resize",
                Rule::NodeSupport,
            ),
            (
                "spec: Forbidden: static pods cannot be resized",
                Rule::PodKind,
            ),
            (
                "spec: Forbidden: windows pods cannot be resized",
                Rule::PodKind,
            ),
            (
                "spec: Forbidden: pods with pod-level resources cannot be resized",
                Rule::PodKind,
            ),
            (
                "spec: Forbidden: only cpu and memory resources are mutable",
                Rule::Immutable,
            ),
            (
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
                Rule::Amounts,
            ),
            ("spec: Forbidden: something new", Rule::Other),
        ] {
            assert_eq!(Rule::of(message), rule, "{message}");
        }
    }
}
