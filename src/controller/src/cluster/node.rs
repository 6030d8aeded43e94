//! What the loop keeps of nodes and of namespaces.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ResourceExt;
use mbcas_api::names::{FROZEN_ANNOTATION, MARKET_DISABLED, MARKET_LABEL};
use mbcas_core::quantity::Quantity;
use mbcas_core::units::MilliCpu;

use super::{View, Watched};

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
    /// Its administrator wants nothing resized there.
    pub is_opted_out: bool,
}

/// What the loop keeps of a labelled namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamespaceView {
    /// Its administrator wants everything left as it is.
    pub is_frozen: bool,
}

impl Watched for Node {
    const IS_OPTIONAL: bool = false;

    fn keep(self, view: &mut View) {
        let node = node_view(&self);
        view.nodes.insert(node.name.clone(), node);
    }

    fn forget(meta: &ObjectMeta, view: &mut View) {
        view.nodes.remove(meta.name.as_deref().unwrap_or_default());
    }

    fn swap(view: &mut View, listed: View) {
        view.nodes = listed.nodes;
    }
}

impl Watched for Namespace {
    const IS_OPTIONAL: bool = false;

    fn keep(self, view: &mut View) {
        // Whoever writes the key wants a freeze, however he spells yes.
        let frozen = self.annotations().get(FROZEN_ANNOTATION);
        let is_frozen = frozen.is_some_and(|value| value != "false");
        view.namespaces
            .insert(self.name_any(), NamespaceView { is_frozen });
    }

    fn forget(meta: &ObjectMeta, view: &mut View) {
        view.namespaces
            .remove(meta.name.as_deref().unwrap_or_default());
    }

    fn swap(view: &mut View, listed: View) {
        view.namespaces = listed.namespaces;
    }
}

pub(super) fn node_view(node: &Node) -> NodeView {
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
    let market = node.labels().get(MARKET_LABEL);
    NodeView {
        name: node.name_any(),
        allocatable: allocatable.unwrap_or_default(),
        cores: cores.or(allocatable).unwrap_or_default(),
        kubelet: internal.map(|address| (address, port.map_or(10250, |p| p.port))),
        is_opted_out: market.is_some_and(|value| value == MARKET_DISABLED),
    }
}
