//! The cluster as the loop needs it: three watches, each kept as small views.
//!
//! A typed `Pod` is some 50 kB; a [`PodView`] is a few hundred bytes. Every
//! event is projected as it arrives and the object is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use kube::api::{Api, ResourceExt};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Client, Resource};
use mbcas_api::names::{INJECTION_ENABLED, INJECTION_LABEL};
use mbcas_api::participant::{cpu_limit, cpu_request};
use mbcas_api::{NotParticipant, Participation};
use mbcas_core::quantity::Quantity;
use mbcas_core::units::MilliCpu;
use mbcas_core::{ContainerId, PodId};
use mbcas_runtime::ready;

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

impl PodView {
    /// The pod's container `name`, fully named.
    pub fn container(&self, name: &str) -> ContainerId {
        ContainerId::new(self.id.clone(), name)
    }
}

/// What the loop keeps of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// What it has for pods.
    pub allocatable: MilliCpu,
    /// What the machine has in all.
    pub cores: MilliCpu,
    /// Where its kubelet listens.
    pub kubelet: Option<(String, i32)>,
}

/// The three views.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Pods that occupy a node, by uid.
    pub pods: BTreeMap<String, PodView>,
    /// Nodes, by name.
    pub nodes: BTreeMap<String, NodeView>,
    /// The labelled namespaces.
    pub namespaces: BTreeSet<String>,
}

/// The views, kept up to date by [`Cluster::watch_pods`] and its like.
#[derive(Clone, Debug, Default)]
pub struct Cluster(Arc<Mutex<View>>);

impl Cluster {
    /// A copy of the views as they stand.
    pub fn view(&self) -> View {
        self.lock().clone()
    }

    /// Views that stand still, for tests.
    #[cfg(test)]
    pub(crate) fn with(view: View) -> Self {
        Self(Arc::new(Mutex::new(view)))
    }

    fn lock(&self) -> MutexGuard<'_, View> {
        // A view is replaced field by field; a panic in between leaves it usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the pods up to date until the process ends.
    ///
    /// # Errors
    /// None: a watch that breaks is taken up again.
    pub async fn watch_pods(
        self,
        client: Client,
        ready: ready::Handle,
    ) -> Result<(), std::convert::Infallible> {
        let stream = events::<Pod>(client, watcher::Config::default());
        let keep = |view: &mut View, pod: &Pod| match pod_view(pod) {
            Some(pod) => drop(view.pods.insert(pod.id.uid.clone(), pod)),
            None => drop(view.pods.remove(&pod.uid().unwrap_or_default())),
        };
        let forget =
            |view: &mut View, pod: &Pod| drop(view.pods.remove(&pod.uid().unwrap_or_default()));
        self.follow(
            stream,
            ready,
            |view, listed| view.pods = listed.pods,
            keep,
            forget,
        )
        .await
    }

    /// Keeps the nodes up to date until the process ends.
    ///
    /// # Errors
    /// None: a watch that breaks is taken up again.
    pub async fn watch_nodes(
        self,
        client: Client,
        ready: ready::Handle,
    ) -> Result<(), std::convert::Infallible> {
        let stream = events::<Node>(client, watcher::Config::default());
        let keep = |view: &mut View, node: &Node| {
            let node = node_view(node);
            view.nodes.insert(node.name.clone(), node);
        };
        let forget = |view: &mut View, node: &Node| drop(view.nodes.remove(&node.name_any()));
        self.follow(
            stream,
            ready,
            |view, listed| view.nodes = listed.nodes,
            keep,
            forget,
        )
        .await
    }

    /// Keeps the labelled namespaces up to date until the process ends.
    ///
    /// # Errors
    /// None: a watch that breaks is taken up again.
    pub async fn watch_namespaces(
        self,
        client: Client,
        ready: ready::Handle,
    ) -> Result<(), std::convert::Infallible> {
        let labelled =
            watcher::Config::default().labels(&format!("{INJECTION_LABEL}={INJECTION_ENABLED}"));
        let stream = events::<Namespace>(client, labelled);
        let keep = |view: &mut View, namespace: &Namespace| {
            view.namespaces.insert(namespace.name_any());
        };
        let forget = |view: &mut View, namespace: &Namespace| {
            view.namespaces.remove(&namespace.name_any());
        };
        self.follow(
            stream,
            ready,
            |view, listed| view.namespaces = listed.namespaces,
            keep,
            forget,
        )
        .await
    }

    /// Takes every event into the view. A relist is gathered aside and swapped
    /// in whole, so that no cycle sees half a cluster.
    async fn follow<K>(
        &self,
        stream: impl Stream<Item = Result<Event<K>, watcher::Error>>,
        ready: ready::Handle,
        swap: impl Fn(&mut View, View),
        keep: impl Fn(&mut View, &K),
        forget: impl Fn(&mut View, &K),
    ) -> Result<(), std::convert::Infallible> {
        let mut stream = std::pin::pin!(stream);
        let mut relisted = View::default();
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Init) => relisted = View::default(),
                Ok(Event::InitApply(object)) => keep(&mut relisted, &object),
                Ok(Event::InitDone) => {
                    swap(&mut self.lock(), std::mem::take(&mut relisted));
                    ready.set(true);
                }
                Ok(Event::Apply(object)) => keep(&mut self.lock(), &object),
                Ok(Event::Delete(object)) => forget(&mut self.lock(), &object),
                Err(error) => tracing::warn!(%error, "A watch broke; it is being taken up again"),
            }
        }
        Ok(())
    }
}

fn events<K>(
    client: Client,
    config: watcher::Config,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>>
where
    K: Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    watch(Api::<K>::all(client), config).default_backoff()
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
    })
}

fn node_view(node: &Node) -> NodeView {
    let status = node.status.as_ref();
    let cpu = |amounts: Option<&BTreeMap<String, Amount>>| {
        let cpu = Quantity::parse(&amounts?.get("cpu")?.0).ok();
        cpu.and_then(|cpu| cpu.as_cpu())
    };
    let allocatable = cpu(status.and_then(|s| s.allocatable.as_ref()));
    let cores = cpu(status.and_then(|s| s.capacity.as_ref()));
    let addresses = status
        .and_then(|s| s.addresses.as_deref())
        .unwrap_or_default();
    let internal = addresses
        .iter()
        .find(|a| a.type_ == "InternalIP")
        .map(|a| a.address.clone());
    let port = status
        .and_then(|s| s.daemon_endpoints.as_ref())
        .and_then(|e| e.kubelet_endpoint.as_ref());
    NodeView {
        name: node.name_any(),
        allocatable: allocatable.unwrap_or_default(),
        cores: cores.or(allocatable).unwrap_or_default(),
        kubelet: internal.map(|address| (address, port.map_or(10250, |p| p.port))),
    }
}

#[cfg(test)]
mod tests;
