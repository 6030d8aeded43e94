//! Why a resize is not attempted.

use mbcas_core::quantity::QuantityError;
use thiserror::Error;

/// Why a resize is not attempted. Most of these the API server or the kubelet
/// would refuse too, later and in fewer words; the others it would accept and
/// do something that nobody asked for.
#[derive(Debug, Error)]
#[allow(missing_docs)] // each variant's message says it
pub enum Refusal {
    #[error("pod {0} has no spec, uid or resourceVersion: read it from the API server first")]
    Incomplete(String),
    #[error("pod {pod} has no container {container:?}; it has {}", .known.join(", "))]
    NoSuchContainer {
        pod: String,
        container: String,
        known: Vec<String>,
    },
    #[error("pod {pod} has several containers ({}): name the one to resize", .known.join(", "))]
    Ambiguous { pod: String, known: Vec<String> },
    #[error(
        "container {0:?} is a plain init container: only sidecars (restartPolicy Always) can be resized"
    )]
    PlainInitContainer(String),
    #[error("pod {0} is static: the kubelet runs it from a file, and only that file can change it")]
    StaticPod(String),
    #[error("pod {0} runs on Windows, where pods cannot be resized in place")]
    Windows(String),
    #[error("pod {0} is on its way out or has ended: there is nothing to resize")]
    Ended(String),
    #[error(
        "pod {0} runs on a node whose kubelet cannot resize pods: it needs Kubernetes 1.33 or later"
    )]
    NodeWithoutResize(String),
    #[error("pod {0} is not the one that was meant: another one has its name now")]
    Replaced(String),
    #[error("container {1:?} of pod {0} was restarted since it was looked at")]
    Restarted(String, String),
    #[error(
        "pod {0} has resources of its own beside its containers': Kubernetes resizes such pods from 1.36 on"
    )]
    PodLevelResources(String),
    #[error("pod {0} is being debugged: it stays as the person who looks at it found it")]
    Debugged(String),
    #[error("pod {0} is not ready, and what it has is not taken away before it is")]
    NotReady(String),
    #[error(
        "the memory {side} of container {container:?} would fall from {from} to {to}: \
         what is in use cannot be taken back, so memory is only raised unless lowering is asked for"
    )]
    LowersMemory {
        container: String,
        side: &'static str,
        from: String,
        to: String,
    },
    #[error(
        "the {resource} limit {limit} of container {container:?} would be above the {most} that its pod has as a whole"
    )]
    AbovePod {
        container: String,
        resource: &'static str,
        limit: String,
        most: String,
    },
    #[error(transparent)]
    OutOfBounds(#[from] crate::bounds::Unfit),
    #[error("nothing to change: give an amount of cpu or memory")]
    NothingAsked,
    #[error(
        "the {resource} amount {amount} is not above zero: a limit of zero means none, and no limit can be removed"
    )]
    NotPositive {
        resource: &'static str,
        amount: String,
    },
    #[error("the pod's own {resource} {side} is unreadable: {source}")]
    Unreadable {
        resource: &'static str,
        side: &'static str,
        source: QuantityError,
    },
    #[error(
        "{resource} limit {limit} would be below the request {request} of container {container:?}: \
         raise the limit, or resize both with policy both"
    )]
    LimitBelowRequest {
        container: String,
        resource: &'static str,
        limit: String,
        request: String,
    },
    #[error(
        "container {container:?} has no {resource} request, and a limit alone would make Kubernetes \
         request as much: ask for both with policy both"
    )]
    LimitWithoutRequest {
        container: String,
        resource: &'static str,
    },
    #[error(
        "the pod's QoS class would change from {from} to {to}, which Kubernetes refuses: \
         keep requests and limits {hint}"
    )]
    QosWouldChange {
        from: String,
        to: String,
        hint: &'static str,
    },
    #[error("container {0:?} has resizePolicy RestartContainer for {1}: a resize would restart it")]
    WouldRestart(String, &'static str),
}
