//! What the loop keeps of a pod.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ResourceExt;
use mbcas_api::participant::{cpu_limit, cpu_request};
use mbcas_api::{NotParticipant, Participation};
use mbcas_core::units::MilliCpu;
use mbcas_core::{ContainerId, PodId};
use serde::Deserialize;

use super::{View, Watched};

/// Where kube-startup-cpu-boost keeps what it did to a pod.
const BOOST_ANNOTATION: &str = "autoscaling.x-k8s.io/startup-cpu-boost";

/// The labels by which controllers tell their ReplicaSets apart, and what they are.
const TEMPLATE_HASHES: [(&str, &str); 2] = [
    ("pod-template-hash", "Deployment"),
    ("rollouts-pod-template-hash", "Rollout"),
];

/// What the loop keeps of a pod.
#[derive(Clone, Debug)]
pub struct PodView {
    /// Which pod.
    pub id: PodId,
    /// Where it runs.
    pub node: String,
    /// Its address, once it has one.
    pub address: Option<IpAddr>,
    /// It shares its node's network: its address is the node's, and nobody asks an agent there.
    pub host_network: bool,
    /// Whether it would take part in a labelled namespace.
    pub participation: Result<Participation, NotParticipant>,
    /// Every container that runs for the pod's whole life, sidecars included.
    pub containers: Vec<ContainerView>,
    /// What made it.
    pub workload: Option<Workload>,
    /// kube-startup-cpu-boost holds its resources at this moment.
    pub is_boosted: bool,
    /// It ends at a set time (`activeDeadlineSeconds`): some quotas ask.
    pub has_deadline: bool,
    /// Its priority class: some quotas ask.
    pub priority_class: Option<String>,
}

/// What the loop keeps of a container.
#[derive(Clone, Debug)]
pub struct ContainerView {
    /// Its name.
    pub name: String,
    /// Its CPU request; nothing without one.
    pub request: MilliCpu,
    /// Its CPU limit.
    pub limit: Option<MilliCpu>,
}

/// What made a pod, as an autoscaler names its target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, …
    pub kind: String,
    /// Its name, in the pod's namespace.
    pub name: String,
}

impl PodView {
    /// The pod's container `name`, fully named.
    pub fn container(&self, name: &str) -> ContainerId {
        ContainerId::new(self.id.clone(), name)
    }
}

impl Watched for Pod {
    const IS_OPTIONAL: bool = false;

    fn keep(&self, view: &mut View) {
        match pod_view(self) {
            Some(pod) => drop(view.pods.insert(pod.id.uid.clone(), pod)),
            None => Self::forget(&self.metadata, view),
        }
    }

    fn forget(meta: &ObjectMeta, view: &mut View) {
        view.pods.remove(meta.uid.as_deref().unwrap_or_default());
    }

    fn swap(view: &mut View, listed: View) {
        view.pods = listed.pods;
    }
}

/// The view of a pod that occupies a node; none of one that does not (not yet, or not any more).
pub(crate) fn pod_view(pod: &Pod) -> Option<PodView> {
    let spec = pod.spec.as_ref()?;
    let status = pod.status.as_ref();
    let ended = matches!(
        status.and_then(|s| s.phase.as_deref()),
        Some("Succeeded" | "Failed")
    );
    let node = spec.node_name.clone().filter(|_| !ended)?;
    let id = PodId {
        namespace: pod.namespace()?,
        name: pod.name_any(),
        uid: pod.uid()?,
    };
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let containers = spec
        .containers
        .iter()
        .chain(sidecars)
        .map(|c| ContainerView {
            name: c.name.clone(),
            request: cpu_request(c).unwrap_or_default(),
            limit: cpu_limit(c),
        });
    Some(PodView {
        containers: containers.collect(),
        id,
        node,
        address: status
            .and_then(|s| s.pod_ip.as_deref())
            .and_then(|ip| ip.parse().ok()),
        host_network: spec.host_network.unwrap_or(false),
        participation: Participation::of(pod),
        workload: workload(pod),
        is_boosted: is_boosted(pod),
        has_deadline: spec.active_deadline_seconds.is_some(),
        priority_class: spec.priority_class_name.clone(),
    })
}

/// What made `pod`: its controller, or, where that is a ReplicaSet of something else,
/// that. A ReplicaSet's name is its maker's with the hash that is also a label of the pod.
fn workload(pod: &Pod) -> Option<Workload> {
    let owners = pod.metadata.owner_references.as_ref()?;
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    let made_by = |(label, kind): &(&str, &str)| {
        let hash = pod.metadata.labels.as_ref()?.get(*label)?;
        let name = owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
        Some(Workload {
            kind: (*kind).to_owned(),
            name: name.to_owned(),
        })
    };
    let maker = || TEMPLATE_HASHES.iter().find_map(made_by);
    let maker = (owner.kind == "ReplicaSet").then(maker).flatten();
    Some(maker.unwrap_or_else(|| Workload {
        kind: owner.kind.clone(),
        name: owner.name.clone(),
    }))
}

/// Whether kube-startup-cpu-boost has raised the pod's resources and not given them back.
/// Its earlier versions write no state and take the annotation away when they are done.
fn is_boosted(pod: &Pod) -> bool {
    #[derive(Deserialize)]
    struct Boost {
        state: Option<String>,
    }
    let annotations = pod.metadata.annotations.as_ref();
    let Some(text) = annotations.and_then(|all| all.get(BOOST_ANNOTATION)) else {
        return false;
    };
    let state = serde_json::from_str::<Boost>(text)
        .ok()
        .and_then(|boost| boost.state);
    state.is_none_or(|state| state == "Active")
}
