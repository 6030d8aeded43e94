//! What the loop keeps of a pod.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use mbcas_actuator::restore;
use mbcas_api::names::FIELD_MANAGER;
use mbcas_api::participant::{cpu_limit, cpu_request};
use mbcas_api::{NotParticipant, Participation};
use mbcas_core::annotations::Settings;
use mbcas_core::units::MilliCpu;
use mbcas_core::{ContainerId, PodId};
use serde::{Deserialize, Deserializer};

use super::shared::{Name, Shared};
use super::{View, Watched};

/// Where kube-startup-cpu-boost keeps what it did to a pod.
const BOOST_ANNOTATION: &str = "autoscaling.x-k8s.io/startup-cpu-boost";

/// The labels by which controllers tell their ReplicaSets apart, and what they are.
const TEMPLATE_HASHES: [(&str, &str); 2] = [
    ("pod-template-hash", "Deployment"),
    ("rollouts-pod-template-hash", "Rollout"),
];

/// What the loop keeps of a pod: what is its own, and what it has in common with others of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    /// Its uid, and after it that by which its name differs from its template's.
    words: Box<str>,
    uid_ends: u16,
    /// kube-startup-cpu-boost holds its resources at this moment.
    pub is_boosted: bool,
    /// A CPU limit of it is one that the market wrote, and another than its owner's; always, where he wrote none.
    pub is_moved: bool,
    /// Its address, once it has one.
    pub address: Option<IpAddr>,
    /// Where it runs.
    pub node: Name,
    /// What the replicas of its workload have in common.
    pub template: Arc<Template>,
    /// Whether it would take part in a labelled namespace.
    pub participation: Result<Participant, NotParticipant>,
}

/// What the loop keeps of a pod that is likely to be the same for all replicas of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template {
    /// The pod's namespace.
    pub namespace: Name,
    /// What its name begins with (`generateName`).
    stem: Box<str>,
    /// What made it.
    pub workload: Option<Workload>,
    /// Every container that runs for the pod's whole life, sidecars included; the one that takes
    /// part without its limit, which is the pod's own.
    containers: Box<[ContainerView]>,
    /// Its priority class: some quotas ask.
    pub priority_class: Option<Name>,
    /// It shares its node's network: its address is the node's, and nobody asks an agent there.
    pub host_network: bool,
    /// It ends at a set time (`activeDeadlineSeconds`): some quotas ask.
    pub has_deadline: bool,
}

/// What the loop keeps of a container.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerView {
    /// Its name.
    pub name: Name,
    /// Its CPU request; nothing without one.
    pub request: MilliCpu,
    /// Its CPU limit.
    pub limit: Option<MilliCpu>,
}

/// A pod's one container that takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// What it asks for.
    pub asks: Arc<Asks>,
    /// When it started, by its node's clock; a restart counts.
    pub started: Option<Timestamp>,
    limit: Limit,
    written: Limit,
}

/// What a participant asks for, likely to be the same for all replicas of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Asks {
    /// The container's name.
    pub container: Name,
    /// What the pod's annotations ask for.
    pub settings: Settings,
    /// Its CPU request.
    pub request: MilliCpu,
    /// The pod carries a demand agent.
    pub has_agent: bool,
}

/// A CPU limit, if there is one, in four bytes: more than 4,294,967 cores count as that many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limit(Option<NonZeroU32>);

/// What made a pod, as an autoscaler names its target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, …
    pub kind: String,
    /// Its name, in the pod's namespace.
    pub name: String,
}

impl PodView {
    /// Its uid.
    pub fn uid(&self) -> &str {
        &self.words[..usize::from(self.uid_ends)]
    }

    /// Its name.
    pub fn name(&self) -> String {
        [
            &*self.template.stem,
            &self.words[usize::from(self.uid_ends)..],
        ]
        .concat()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.template.namespace
    }

    /// Which pod it is.
    pub fn id(&self) -> PodId {
        PodId {
            namespace: self.namespace().to_owned(),
            name: self.name(),
            uid: self.uid().to_owned(),
        }
    }

    /// The pod's container `name`, fully named.
    pub fn container(&self, name: &str) -> ContainerId {
        ContainerId::new(self.id(), name)
    }

    /// Every container that runs for the pod's whole life, sidecars included.
    pub fn containers(&self) -> impl Iterator<Item = ContainerView> + '_ {
        let participant = self.participation.as_ref().ok();
        self.template.containers.iter().map(move |container| {
            let own = participant.filter(|p| p.asks.container == container.name);
            let limit = own.map_or(container.limit, |own| own.written.cpu());
            ContainerView {
                limit,
                ..container.clone()
            }
        })
    }
}

impl Template {
    /// The same, with its names taken from `names`.
    pub(super) fn sharing(&self, names: &mut Shared<Name>) -> Self {
        let mut containers = self.containers.clone();
        for container in &mut containers {
            container.name = names.share(&container.name);
        }
        Self {
            namespace: names.share(&self.namespace),
            stem: self.stem.clone(),
            workload: self.workload.clone(),
            containers,
            priority_class: self.priority_class.as_ref().map(|name| names.share(name)),
            ..*self
        }
    }
}

impl Participant {
    fn new(found: Participation, written: Option<MilliCpu>) -> Self {
        let asks = Asks {
            container: found.container.as_str().into(),
            settings: found.settings,
            request: found.request,
            has_agent: found.has_agent,
        };
        Self {
            asks: Arc::new(asks),
            started: found.started,
            limit: found.limit.into(),
            written: written.into(),
        }
    }

    /// Its CPU limit as it runs: where spec and status differ because a resize is on its way, the
    /// larger one. Absent: unlimited.
    pub fn limit(&self) -> Option<MilliCpu> {
        self.limit.cpu()
    }
}

impl Asks {
    /// The same, with its name taken from `names`.
    pub(super) fn sharing(&self, names: &mut Shared<Name>) -> Self {
        Self {
            container: names.share(&self.container),
            settings: self.settings.clone(),
            ..*self
        }
    }
}

impl Limit {
    fn cpu(self) -> Option<MilliCpu> {
        self.0.map(|limit| MilliCpu::new(limit.get().into()))
    }
}

impl From<Option<MilliCpu>> for Limit {
    fn from(limit: Option<MilliCpu>) -> Self {
        let narrow = |cpu: MilliCpu| u32::try_from(cpu.get()).unwrap_or(u32::MAX);
        Self(limit.map(narrow).and_then(NonZeroU32::new))
    }
}

/// A pod as its watch reads it. It is projected while it is being read, so that there is never more
/// than one typed `Pod`, however long the page is.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// Its uid, and the version of the cluster that it is from.
    metadata: ObjectMeta,
    pod: Option<PodView>,
}

impl<'de> Deserialize<'de> for Sighting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pod = Pod::deserialize(deserializer)?;
        Ok(Self {
            pod: pod_view(&pod),
            metadata: ObjectMeta {
                uid: pod.metadata.uid,
                resource_version: pod.metadata.resource_version,
                ..ObjectMeta::default()
            },
        })
    }
}

impl Resource for Sighting {
    type DynamicType = ();
    type Scope = <Pod as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        <Pod as Resource>::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        <Pod as Resource>::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        <Pod as Resource>::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        <Pod as Resource>::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Watched for Sighting {
    const IS_OPTIONAL: bool = false;

    fn keep(self, view: &mut View) {
        match self.pod {
            Some(pod) => view.pods.insert(pod),
            None => Self::forget(&self.metadata, view),
        }
    }

    fn forget(meta: &ObjectMeta, view: &mut View) {
        view.pods.remove(meta.uid.as_deref().unwrap_or_default());
    }

    fn swap(view: &mut View, listed: View) {
        view.pods = listed.pods.settled();
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
    let node = spec.node_name.as_deref().filter(|_| !ended)?;
    let namespace = pod.metadata.namespace.as_deref()?;
    let uid = pod.metadata.uid.as_deref()?;
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let stem = pod.metadata.generate_name.as_deref();
    let stem = stem
        .filter(|stem| name.starts_with(stem))
        .unwrap_or_default();
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let containers = spec.containers.iter().chain(sidecars);
    let containers = containers.map(|c| ContainerView {
        name: c.name.as_str().into(),
        request: cpu_request(c).unwrap_or_default(),
        limit: cpu_limit(c),
    });
    let mut containers: Box<[_]> = containers.collect();
    let participation = Participation::of(pod).map(|found| {
        let own = containers
            .iter_mut()
            .find(|c| c.name == found.container.as_str());
        let written = own.and_then(|own| own.limit.take());
        Participant::new(found, written)
    });
    Some(PodView {
        words: [uid, &name[stem.len()..]].concat().into(),
        uid_ends: uid.len().try_into().ok()?,
        is_boosted: is_boosted(pod),
        is_moved: is_moved(pod, node),
        address: status
            .and_then(|s| s.pod_ip.as_deref())
            .and_then(|ip| ip.parse().ok()),
        node: node.into(),
        template: Arc::new(Template {
            namespace: namespace.into(),
            stem: stem.into(),
            workload: workload(pod),
            containers,
            priority_class: spec.priority_class_name.as_deref().map(Name::from),
            host_network: spec.host_network.unwrap_or(false),
            has_deadline: spec.active_deadline_seconds.is_some(),
        }),
        participation,
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

/// Whether one of `pod`'s CPU amounts is what we wrote, and another than it was. A limit that was absent
/// cannot be taken away again, so that what stands in its place is ours for good.
fn is_moved(pod: &Pod, node: &str) -> bool {
    let unlimited = BTreeMap::from([(node.to_owned(), MilliCpu::new(u64::MAX))]);
    let steps = restore::decide_own(pod, &unlimited, FIELD_MANAGER);
    steps.is_ok_and(|steps| !steps.is_empty())
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
