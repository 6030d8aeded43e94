//! A pod as far as admission looks at it.
//!
//! Most of a pod is of no interest here: environments, probes, volumes' sources,
//! managed fields. Read into Kubernetes' own types all of it costs several times
//! what the decision costs, and a pod can be written that takes hundreds of
//! times its length: `{}` is a container. So only what is named here is read,
//! and lists have an end. What is read is given as Kubernetes' own types, with
//! the rest left empty, so that nobody needs a second set of types.
//!
//! Whoever needs another field of a pod names it here. That the answer to an
//! outline is the answer to the whole pod, is a test over all golden pods.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, ContainerResizePolicy, Pod, PodOS, PodSpec, ResourceRequirements,
    Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Object, called};

/// The most containers, or volumes, of a pod: ten times as many as anybody has.
const MOST_PARTS: usize = 500;

/// The most entries of anything else: ports of a container, annotations.
const MOST_ENTRIES: usize = 5_000;

/// A pod of which only what admission looks at is there. Its type has some kilobytes, whatever is
/// in it, so it is not moved about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outline(pub Box<Pod>);

impl Object for Outline {
    fn name(&self) -> &str {
        let metadata = &self.0.metadata;
        called([metadata.name.as_deref(), metadata.generate_name.as_deref()])
    }
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Root { metadata, spec } = Root::deserialize(deserializer)?;
        let (metadata, spec) = (metadata.into(), spec.map(PodSpec::from));
        Ok(Self(Box::new(Pod {
            metadata,
            spec,
            ..Pod::default()
        })))
    }
}

/// The first list of `pod` that is longer than what is read of it. Whoever
/// writes such a pod is refused: let through unseen it would escape every rule.
pub fn excess(pod: &Pod) -> Option<String> {
    let metadata = &pod.metadata;
    let annotations = metadata.annotations.as_ref().map_or(0, BTreeMap::len);
    let owners = metadata.owner_references.as_ref().map_or(0, Vec::len);
    let (name, most) = longer(
        [("annotations", annotations), ("ownerReferences", owners)],
        MOST_ENTRIES,
    )
    .or_else(|| pod.spec.as_ref().and_then(excess_of_spec))?;
    Some(format!(
        "the pod's {name} have more than {most} entries, which is more than MBCAS reads; use fewer"
    ))
}

type Excess = (&'static str, usize);

fn excess_of_spec(spec: &PodSpec) -> Option<Excess> {
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let volumes = spec.volumes.as_ref().map_or(0, Vec::len);
    let selector = spec.node_selector.as_ref().map_or(0, BTreeMap::len);
    let parts = [
        ("containers", spec.containers.len()),
        ("initContainers", inits.len()),
        ("volumes", volumes),
    ];
    longer(parts, MOST_PARTS)
        .or_else(|| longer([("nodeSelector", selector)], MOST_ENTRIES))
        .or_else(|| {
            inits
                .iter()
                .chain(&spec.containers)
                .find_map(excess_of_container)
        })
}

fn excess_of_container(container: &Container) -> Option<Excess> {
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let lists = [
        ("limits", limits.map_or(0, BTreeMap::len)),
        ("requests", requests.map_or(0, BTreeMap::len)),
        ("ports", container.ports.as_ref().map_or(0, Vec::len)),
        (
            "volumeMounts",
            container.volume_mounts.as_ref().map_or(0, Vec::len),
        ),
        (
            "resizePolicy",
            container.resize_policy.as_ref().map_or(0, Vec::len),
        ),
    ];
    longer(lists, MOST_ENTRIES)
}

/// The first list that has more than `most` entries, and that number.
fn longer<const N: usize>(lists: [(&'static str, usize); N], most: usize) -> Option<Excess> {
    let (name, _) = lists.into_iter().find(|(_, length)| *length > most)?;
    Some((name, most))
}

#[derive(Deserialize)]
struct Root {
    #[serde(default)]
    metadata: Metadata,
    spec: Option<Spec>,
}

pub(crate) type Entries<V> = Option<Few<BTreeMap<String, V>, MOST_ENTRIES>>;
type List<T> = Option<Few<Vec<T>, MOST_ENTRIES>>;
type Parts<T> = Option<Few<Vec<T>, MOST_PARTS>>;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    generate_name: Option<String>,
    annotations: Entries<String>,
    owner_references: List<OwnerReference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    active_deadline_seconds: Option<i64>,
    containers: Parts<Part>,
    host_network: Option<bool>,
    #[serde(rename = "hostPID")]
    host_pid: Option<bool>,
    init_containers: Parts<Part>,
    node_selector: Entries<String>,
    os: Option<PodOS>,
    priority_class_name: Option<String>,
    resources: Option<Resources>,
    share_process_namespace: Option<bool>,
    volumes: Parts<Named>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    name: Option<String>,
    image: Option<String>,
    ports: List<Port>,
    resize_policy: List<ContainerResizePolicy>,
    resources: Option<Resources>,
    restart_policy: Option<String>,
    volume_mounts: List<Mount>,
}

#[derive(Deserialize)]
struct Resources {
    limits: Entries<Quantity>,
    requests: Entries<Quantity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    name: Option<String>,
    container_port: Option<i32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    name: Option<String>,
    mount_path: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
}

impl From<Metadata> for ObjectMeta {
    fn from(from: Metadata) -> Self {
        Self {
            name: from.name,
            generate_name: from.generate_name,
            annotations: from.annotations.map(|few| few.0),
            owner_references: from.owner_references.map(|few| few.0),
            ..Self::default()
        }
    }
}

impl From<Spec> for PodSpec {
    fn from(from: Spec) -> Self {
        Self {
            active_deadline_seconds: from.active_deadline_seconds,
            containers: all(from.containers).unwrap_or_default(),
            host_network: from.host_network,
            host_pid: from.host_pid,
            init_containers: all(from.init_containers),
            node_selector: from.node_selector.map(|few| few.0),
            os: from.os,
            priority_class_name: from.priority_class_name,
            resources: from.resources.map(Into::into),
            share_process_namespace: from.share_process_namespace,
            volumes: all(from.volumes),
            ..Self::default()
        }
    }
}

impl From<Part> for Container {
    fn from(from: Part) -> Self {
        Self {
            name: from.name.unwrap_or_default(),
            image: from.image,
            ports: all(from.ports),
            resize_policy: from.resize_policy.map(|few| few.0),
            resources: from.resources.map(Into::into),
            restart_policy: from.restart_policy,
            volume_mounts: all(from.volume_mounts),
            ..Self::default()
        }
    }
}

impl From<Resources> for ResourceRequirements {
    fn from(from: Resources) -> Self {
        Self {
            limits: from.limits.map(|few| few.0),
            requests: from.requests.map(|few| few.0),
            ..Self::default()
        }
    }
}

impl From<Port> for ContainerPort {
    fn from(from: Port) -> Self {
        Self {
            name: from.name,
            container_port: from.container_port.unwrap_or_default(),
            ..Self::default()
        }
    }
}

impl From<Mount> for VolumeMount {
    fn from(from: Mount) -> Self {
        Self {
            name: from.name.unwrap_or_default(),
            mount_path: from.mount_path.unwrap_or_default(),
            ..Self::default()
        }
    }
}

impl From<Named> for Volume {
    fn from(from: Named) -> Self {
        Self {
            name: from.name.unwrap_or_default(),
            ..Self::default()
        }
    }
}

fn all<T, U: From<T>, const MOST: usize>(list: Option<Few<Vec<T>, MOST>>) -> Option<Vec<U>> {
    list.map(|few| few.0.into_iter().map(U::from).collect())
}

/// A collection of at most `MOST` entries and one more, by which [`excess`] knows that there were more.
#[derive(Clone, Debug)]
pub(crate) struct Few<C, const MOST: usize>(pub(crate) C);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Few<Vec<T>, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Collect::<Self>(PhantomData))
    }
}

impl<'de, V: Deserialize<'de>, const MOST: usize> Deserialize<'de>
    for Few<BTreeMap<String, V>, MOST>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Collect::<Self>(PhantomData))
    }
}

struct Collect<F>(PhantomData<F>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Collect<Few<Vec<T>, MOST>> {
    type Value = Few<Vec<T>, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while list.len() <= MOST {
            match entries.next_element()? {
                Some(entry) => list.push(entry),
                None => return Ok(Few(list)),
            }
        }
        while entries.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Few(list))
    }
}

impl<'de, V: Deserialize<'de>, const MOST: usize> Visitor<'de>
    for Collect<Few<BTreeMap<String, V>, MOST>>
{
    type Value = Few<BTreeMap<String, V>, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while map.len() <= MOST {
            match entries.next_entry::<String, V>()? {
                Some((key, value)) => drop(map.insert(key, value)),
                None => return Ok(Few(map)),
            }
        }
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Few(map))
    }
}

#[cfg(test)]
mod tests;
