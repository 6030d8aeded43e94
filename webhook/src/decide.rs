//! What is to be done with a pod.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use mbcas_api::participant::restarts_on_resize;
use mbcas_api::qos::Qos;
use mbcas_core::annotations::{AgentChoice, Settings};

use crate::namespace::Namespace;
use crate::policy::{AgentSpec, Policy};
use crate::room;
use crate::sidecar::{self, Clash};

/// What admission does with a pod. Data: the patch, the answer, the warning, the metric and the log are made from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It gets a sidecar.
    Inject,
    /// It gets none.
    Skip(SkipReason),
    /// It is refused, for all of these reasons.
    Deny(DenyReason, Vec<String>),
}

impl Decision {
    /// The decision in one word, for metrics and logs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Inject => "inject",
            Self::Skip(_) => "skip",
            Self::Deny(..) => "deny",
        }
    }

    /// Its reason in one word, from a closed set: never anything that a tenant wrote.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Inject => "injected",
            Self::Skip(reason) => reason.as_str(),
            Self::Deny(reason, _) => reason.as_str(),
        }
    }

    /// Whether the pod takes part.
    pub const fn takes_part(&self) -> bool {
        match self {
            Self::Inject => true,
            Self::Skip(reason) => reason.takes_part(),
            Self::Deny(..) => false,
        }
    }

    /// Whether the pod ends up with a sidecar.
    pub const fn has_sidecar(&self) -> bool {
        matches!(self, Self::Inject | Self::Skip(SkipReason::AlreadyInjected))
    }
}

/// Why a pod is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyReason {
    /// An annotation cannot be read, or contradicts the pod.
    Malformed,
    /// It asks for more than its namespace's BudgetPolicy allows, or has left.
    OverAllotment,
}

impl DenyReason {
    /// The word for it, in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::OverAllotment => "over_allotment",
        }
    }
}

/// Why a pod gets no sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    /// Not the creation of a pod: our configuration never asks that.
    NotAPodCreation,
    /// A static pod's image in the API; the kubelet runs the file, not this.
    StaticPod,
    /// `mbcas.enabled: "false"`.
    OptedOut,
    /// Windows pods cannot be resized.
    Windows,
    /// It asks for a virtual node, which has no kubelet: nothing there resizes a pod or measures it.
    VirtualNode,
    /// It has no controller: whoever applies it again would fight the resize.
    BarePod,
    /// No requests and no limits at all: a sidecar would give it another QoS class.
    BestEffort,
    /// Requests equal limits: a sidecar would cost it its QoS class.
    Guaranteed,
    /// It has resources as a whole, and such a pod cannot be resized.
    PodResources,
    /// Its `resizePolicy` restarts the container on every CPU change.
    RestartOnResize,
    /// The container has no CPU request, so nothing says what it may count on.
    NoRequest,
    /// The sidecar is there: this is our second look.
    AlreadyInjected,
    /// In the node's network the agent would listen on the node. Takes part without one.
    HostNetwork,
    /// `mbcas.agent: none`. Takes part without one.
    AgentNone,
    /// Something of the pod has the agent's name. Takes part without one.
    NameClash,
    /// Something of the pod has the agent's port. Takes part without one.
    PortClash,
    /// No sidecar fits the namespace's LimitRanges. Takes part without one.
    LimitRange,
    /// The namespace's ResourceQuota has no room for a sidecar. Takes part without one.
    Quota,
}

impl SkipReason {
    /// Every reason.
    pub const ALL: [Self; 18] = [
        Self::NotAPodCreation,
        Self::StaticPod,
        Self::OptedOut,
        Self::Windows,
        Self::VirtualNode,
        Self::BarePod,
        Self::BestEffort,
        Self::Guaranteed,
        Self::PodResources,
        Self::RestartOnResize,
        Self::NoRequest,
        Self::AlreadyInjected,
        Self::HostNetwork,
        Self::AgentNone,
        Self::NameClash,
        Self::PortClash,
        Self::LimitRange,
        Self::Quota,
    ];

    /// The word for it, in metrics, logs and the annotation `mbcas.dev/injection`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAPodCreation => "not_a_pod_creation",
            Self::StaticPod => "static_pod",
            Self::OptedOut => "opted_out",
            Self::Windows => "windows",
            Self::VirtualNode => "virtual_node",
            Self::BarePod => "bare_pod",
            Self::BestEffort => "best_effort",
            Self::Guaranteed => "guaranteed",
            Self::PodResources => "pod_resources",
            Self::RestartOnResize => "restart_on_resize",
            Self::NoRequest => "no_request",
            Self::AlreadyInjected => "already_injected",
            Self::HostNetwork => "host_network",
            Self::AgentNone => "agent_none",
            Self::NameClash => "name_clash",
            Self::PortClash => "port_clash",
            Self::LimitRange => "limit_range",
            Self::Quota => "quota",
        }
    }

    /// Whether the pod takes part all the same, on evidence alone or with the sidecar that it has.
    pub const fn takes_part(self) -> bool {
        matches!(
            self,
            Self::AlreadyInjected
                | Self::HostNetwork
                | Self::AgentNone
                | Self::NameClash
                | Self::PortClash
                | Self::LimitRange
                | Self::Quota
        )
    }

    /// Whether the pod is told by an annotation. Those that opted out, and
    /// those that MBCAS has no business with, are left exactly as they are.
    pub const fn is_marked(self) -> bool {
        !matches!(
            self,
            Self::NotAPodCreation | Self::StaticPod | Self::OptedOut | Self::BestEffort
        )
    }

    /// What the pod's author is told, where the outcome may surprise him.
    pub const fn advice(self) -> Option<&'static str> {
        match self {
            Self::BarePod => Some(
                "the pod has no controller, so MBCAS leaves it alone; create it through a Deployment, \
                 or set mbcas.enabled to \"true\"",
            ),
            Self::BestEffort => {
                Some("the pod has no requests, so MBCAS leaves it alone; give it a CPU request")
            }
            Self::Guaranteed => Some(
                "the pod is Guaranteed, so MBCAS leaves it alone; set its CPU limit above its request to take part",
            ),
            Self::PodResources => Some(
                "the pod has pod-level resources and cannot be resized; set them on its containers to take part",
            ),
            Self::RestartOnResize => Some(
                "the container's resizePolicy restarts it on CPU changes, so MBCAS leaves it alone; \
                 set it to NotRequired to take part",
            ),
            Self::NoRequest => Some(
                "the container has no CPU request, so MBCAS leaves it alone; give it one to take part",
            ),
            Self::NameClash => Some(
                "a container or volume has a name that MBCAS needs, so the pod gets no demand agent; rename it",
            ),
            Self::PortClash => Some(
                "a container uses port 9465, so the pod gets no demand agent; move it to another port",
            ),
            Self::LimitRange => Some(
                "no demand agent fits the namespace's LimitRange, so the pod gets none; \
                 the agent takes 10m to 200m of CPU and 16Mi to 32Mi of memory by default",
            ),
            Self::Quota => Some(
                "the namespace's ResourceQuota has no room for a demand agent, so the pod gets none; raise the quota",
            ),
            _ => None,
        }
    }
}

/// What a decision is made from: the pod, and what was found out about it.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The pod, to be read only.
    pub pod: &'a Pod,
    /// Its spec.
    pub spec: &'a PodSpec,
    /// What its annotations ask for, as far as its namespace lets it.
    pub settings: &'a Settings,
    /// Where it is created.
    pub namespace: &'a Namespace,
    /// The container that takes part.
    pub chosen: &'a Container,
    /// Its containers as submitted, see [`crate::submitted`].
    pub submitted: &'a [Container],
    /// The participating container has a CPU request.
    pub has_request: bool,
}

/// Decides about a pod whose annotations are well formed: the sidecar that it
/// gets, or why it gets none. What rules a pod out altogether comes before what
/// only keeps the sidecar away.
///
/// # Errors
/// The reason for no sidecar.
pub fn decide<'p>(
    subject: &Subject<'_>,
    policy: &'p Policy,
) -> Result<Cow<'p, AgentSpec>, SkipReason> {
    let reason = ruled_out(subject, policy).or_else(|| without_sidecar(subject, policy));
    if let Some(reason) = reason {
        return Err(reason);
    }
    let rules = &subject.namespace.rules;
    if rules.limit_ranges.is_empty() && rules.quotas.is_empty() {
        return Ok(Cow::Borrowed(policy.agent()));
    }
    let submitted = PodSpec {
        containers: subject.submitted.to_vec(),
        ..subject.spec.clone()
    };
    room::fitted(policy.agent(), &submitted, subject.namespace)
}

fn ruled_out(subject: &Subject<'_>, policy: &Policy) -> Option<SkipReason> {
    let Subject {
        pod,
        spec,
        settings,
        chosen,
        ..
    } = *subject;
    if is_static(pod) {
        return Some(SkipReason::StaticPod);
    }
    if !settings.is_enabled() {
        return Some(SkipReason::OptedOut);
    }
    if is_windows(spec) {
        return Some(SkipReason::Windows);
    }
    if is_virtual(spec) {
        return Some(SkipReason::VirtualNode);
    }
    if !has_controller(pod) && settings.enabled != Some(true) {
        return Some(SkipReason::BarePod);
    }
    let inits = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| !sidecar::is_ours(c, policy.agent()));
    match Qos::of_parts(spec, inits.chain(subject.submitted)) {
        Qos::BestEffort => return Some(SkipReason::BestEffort),
        Qos::Guaranteed => return Some(SkipReason::Guaranteed),
        Qos::Burstable => {}
    }
    if spec.resources.is_some() {
        Some(SkipReason::PodResources)
    } else if restarts_on_resize(chosen) {
        Some(SkipReason::RestartOnResize)
    } else if subject.has_request {
        None
    } else {
        Some(SkipReason::NoRequest)
    }
}

fn without_sidecar(subject: &Subject<'_>, policy: &Policy) -> Option<SkipReason> {
    let Subject { spec, settings, .. } = *subject;
    if sidecar::find(spec, policy.agent()).is_some() {
        return Some(SkipReason::AlreadyInjected);
    }
    if spec.host_network == Some(true) {
        return Some(SkipReason::HostNetwork);
    }
    if settings.agent == AgentChoice::None {
        return Some(SkipReason::AgentNone);
    }
    sidecar::clash(spec).map(|clash| match clash {
        Clash::Name => SkipReason::NameClash,
        Clash::Port => SkipReason::PortClash,
    })
}

fn owners(
    pod: &Pod,
) -> impl Iterator<Item = &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference> {
    pod.metadata.owner_references.iter().flatten()
}

fn is_static(pod: &Pod) -> bool {
    let mirrored = pod
        .metadata
        .annotations
        .iter()
        .flatten()
        .any(|(key, _)| key == "kubernetes.io/config.mirror");
    mirrored || owners(pod).any(|owner| owner.kind == "Node" && owner.api_version == "v1")
}

fn has_controller(pod: &Pod) -> bool {
    owners(pod).any(|owner| owner.controller == Some(true))
}

fn is_windows(spec: &PodSpec) -> bool {
    let selected = |(key, value): (&String, &String)| {
        matches!(key.as_str(), "kubernetes.io/os" | "beta.kubernetes.io/os") && value == "windows"
    };
    spec.os.as_ref().is_some_and(|os| os.name == "windows")
        || spec.node_selector.iter().flatten().any(selected)
}

/// A toleration alone lets the pod run on other nodes too, so it decides nothing.
fn is_virtual(spec: &PodSpec) -> bool {
    let selected = |(key, value): (&String, &String)| key == "type" && value == "virtual-kubelet";
    spec.node_selector.iter().flatten().any(selected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_word_of_its_own_and_its_advice_fits_into_a_warning() {
        let words: std::collections::BTreeSet<_> =
            SkipReason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(words.len(), SkipReason::ALL.len());
        for reason in SkipReason::ALL {
            let word = reason.as_str();
            assert!(
                word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{word}"
            );
            let advice = reason.advice().unwrap_or_default();
            assert!(
                advice.is_ascii() && advice.len() <= 200,
                "{word}: {}",
                advice.len()
            );
            assert!(reason.is_marked() || !reason.takes_part(), "{word}");
        }
    }
}
