//! Deciding a resize, without touching anything.

mod checks;
mod fit;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use mbcas_core::quantity::Quantity;
use mbcas_core::units::MilliCpu;
use serde_json::{Map, Value, json};

use crate::bounds::Constraint;
use crate::ownership::{Field, Ownership};
use crate::refusal::Refusal;
use crate::request::{ResizePolicy, ResizeRequest, Resource, Side};
use checks::{
    refuse_inconsiderate, refuse_inverted, refuse_qos_change, refuse_restart, refuse_taking,
    refuse_unresizable,
};
use fit::fitted;

/// What one resize will do: everything that [`crate::apply`] and [`crate::settle()`] need.
#[derive(Clone, Debug)]
pub struct ResizePlan {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The incarnation that was looked at; a replacement is never patched.
    pub uid: String,
    /// The version that was looked at; anything newer refuses the write.
    pub resource_version: String,
    /// The generation that was looked at.
    pub generation: Option<i64>,
    /// The container that changes.
    pub container: String,
    /// Which run of it was looked at.
    pub container_id: Option<String>,
    /// What bound the CPU amount, where it was fitted to [`ResizeRequest::bounds`].
    pub bound_by: Option<Constraint>,
    /// Every amount that was asked for, in a fixed order: what the status has to show in the end.
    pub wanted: Vec<Change>,
    /// Those of [`Self::wanted`] that the spec does not have yet. Empty: the spec is as asked already.
    pub changes: Vec<Change>,
    /// Take the fields over from whoever created the pod, see [`Ownership`].
    pub force: bool,
    /// The field manager in whose name it is written.
    pub manager: String,
    /// The server-side apply: every field that we own, and the changes.
    pub patch: Value,
}

/// One amount that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which one.
    pub field: Field,
    /// What the spec has now.
    pub from: Option<Quantity>,
    /// What it will have.
    pub to: Quantity,
}

impl ResizePlan {
    /// The request that takes this plan back, for a resize that the kubelet deferred or
    /// cannot do: what the spec asks for counts against the node all the same. Absent
    /// where it cannot be taken back: amounts of memory are only raised, and what was
    /// not there before cannot be removed.
    pub fn undo(&self) -> Option<ResizeRequest> {
        let before = |side| {
            let change = self.changes.iter().find(|c| c.field.side == side);
            change.and_then(|c| c.from.clone())
        };
        let changed = |side| self.changes.iter().any(|c| c.field.side == side);
        if self.changes.is_empty()
            || self
                .changes
                .iter()
                .any(|c| c.field.resource != Resource::Cpu)
            || self.changes.iter().any(|c| c.from.is_none())
        {
            return None;
        }
        let (cpu, policy) = if changed(Side::Limits) {
            (before(Side::Limits), ResizePolicy::Limits)
        } else {
            (before(Side::Requests), ResizePolicy::Requests)
        };
        Some(ResizeRequest {
            uid: Some(self.uid.clone()),
            container: Some(self.container.clone()),
            cpu,
            cpu_request: before(Side::Requests).filter(|_| policy == ResizePolicy::Limits),
            policy,
            ..ResizeRequest::default()
        })
    }
}

impl Change {
    /// Whether the spec is different now.
    fn is_news(&self) -> bool {
        self.from.as_ref() != Some(&self.to)
    }
}

/// Decides the resize of `pod` that `request` asks for, in the name of `manager`.
///
/// # Errors
/// A [`Refusal`] wherever Kubernetes would refuse, or where a container would be restarted.
pub fn plan(pod: &Pod, request: &ResizeRequest, manager: &str) -> Result<ResizePlan, Refusal> {
    let shown = shown(pod);
    let incomplete = || Refusal::Incomplete(shown.clone());
    let spec = pod.spec.as_ref().ok_or_else(incomplete)?;
    let uid = pod.metadata.uid.clone().ok_or_else(incomplete)?;
    let resource_version = pod
        .metadata
        .resource_version
        .clone()
        .ok_or_else(incomplete)?;
    if request.uid.as_ref().is_some_and(|meant| *meant != uid) {
        return Err(Refusal::Replaced(shown));
    }
    refuse_unresizable(pod, spec, request, &shown)?;
    if request.amounts().is_empty() {
        return Err(Refusal::NothingAsked);
    }
    let (container, init) = resolve(pod, spec, request.container.as_deref(), &shown)?;
    let run = run_of(pod, &container.name, init);
    refuse_inconsiderate(pod, spec, request, run, &container.name, &shown)?;
    let (request, bound_by) = fitted(pod, spec, container, request)?;
    let wanted = wanted(container, init, &request)?;
    let changes: Vec<Change> = wanted.iter().filter(|c| c.is_news()).cloned().collect();
    refuse_restart(container, &changes)?;
    refuse_taking(pod, container, &request, &changes, &shown)?;
    let after = with_changes(spec, &changes);
    refuse_inverted(&after, &container.name, &changes)?;
    refuse_qos_change(pod, spec, &after)?;

    let ownership = Ownership::of(pod, manager);
    let contested = changes
        .iter()
        .any(|c| ownership.resizer_of(&c.field).is_some());
    let plan = ResizePlan {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        pod: pod.metadata.name.clone().unwrap_or_default(),
        uid,
        resource_version,
        generation: pod.metadata.generation,
        container: container.name.clone(),
        container_id: run.and_then(|run| run.container_id.clone()),
        bound_by,
        force: request.take_over || !contested,
        manager: manager.to_owned(),
        patch: Value::Null,
        wanted,
        changes,
    };
    let patch = patch(&plan, &after, &ownership);
    Ok(ResizePlan { patch, ..plan })
}

fn shown(pod: &Pod) -> String {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    format!(
        "{namespace}/{}",
        pod.metadata.name.as_deref().unwrap_or_default()
    )
}

/// The container that is meant, and whether it is listed under `initContainers`.
fn resolve<'a>(
    pod: &Pod,
    spec: &'a PodSpec,
    wanted: Option<&str>,
    shown: &str,
) -> Result<(&'a Container, bool), Refusal> {
    let names = |containers: &[Container]| -> Vec<String> {
        containers.iter().map(|c| c.name.clone()).collect()
    };
    let annotations = pod.metadata.annotations.as_ref();
    let default = annotations.and_then(|a| a.get(mbcas_api::names::DEFAULT_CONTAINER_ANNOTATION));
    let app = |name: &str| spec.containers.iter().find(|c| c.name == name);
    let Some(name) = wanted else {
        let chosen = default.and_then(|name| app(name));
        return match (chosen, spec.containers.as_slice()) {
            (Some(container), _) => Ok((container, false)),
            (None, [only]) => Ok((only, false)),
            _ => Err(Refusal::Ambiguous {
                pod: shown.to_owned(),
                known: names(&spec.containers),
            }),
        };
    };
    if let Some(container) = app(name) {
        return Ok((container, false));
    }
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let is_sidecar = |c: &&Container| c.restart_policy.as_deref() == Some("Always");
    match init.iter().find(|c| c.name == name) {
        Some(c) if is_sidecar(&c) => Ok((c, true)),
        Some(c) => Err(Refusal::PlainInitContainer(c.name.clone())),
        None => {
            let sidecars = init.iter().filter(is_sidecar).map(|c| c.name.clone());
            Err(Refusal::NoSuchContainer {
                pod: shown.to_owned(),
                container: name.to_owned(),
                known: names(&spec.containers)
                    .into_iter()
                    .chain(sidecars)
                    .collect(),
            })
        }
    }
}

/// The status of the container, which says which run of it this is.
fn run_of<'a>(pod: &'a Pod, name: &str, init: bool) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let statuses = if init {
        status.init_container_statuses.as_ref()
    } else {
        status.container_statuses.as_ref()
    };
    statuses?.iter().find(|status| status.name == name)
}

fn wanted(
    container: &Container,
    init: bool,
    request: &ResizeRequest,
) -> Result<Vec<Change>, Refusal> {
    let mut wanted = Vec::new();
    for (side, resource, amount) in request.amounts() {
        if *amount <= Quantity::from(MilliCpu::ZERO) {
            return Err(Refusal::NotPositive {
                resource: resource.name(),
                amount: amount.canonical(),
            });
        }
        wanted.push(Change {
            from: current(container, side, resource)?,
            // What the API server would store.
            to: amount.rounded_up_to_milli(),
            field: Field {
                init,
                container: container.name.clone(),
                side,
                resource,
            },
        });
    }
    Ok(wanted)
}

fn list(container: &Container, side: Side) -> Option<&BTreeMap<String, Text>> {
    let resources = container.resources.as_ref()?;
    match side {
        Side::Requests => resources.requests.as_ref(),
        Side::Limits => resources.limits.as_ref(),
    }
}

fn current(
    container: &Container,
    side: Side,
    resource: Resource,
) -> Result<Option<Quantity>, Refusal> {
    let text = list(container, side).and_then(|l| l.get(resource.name()));
    let parsed = text.map(|t| Quantity::parse(&t.0)).transpose();
    parsed.map_err(|source| Refusal::Unreadable {
        resource: resource.name(),
        side: side.name(),
        source,
    })
}

fn with_changes(spec: &PodSpec, changes: &[Change]) -> PodSpec {
    let mut after = spec.clone();
    let init = after
        .init_containers
        .iter_mut()
        .flatten()
        .map(|c| (true, c));
    for (init, container) in after.containers.iter_mut().map(|c| (false, c)).chain(init) {
        let meant = |c: &&Change| c.field.init == init && c.field.container == container.name;
        for change in changes.iter().filter(meant).cloned().collect::<Vec<_>>() {
            let resources = container.resources.get_or_insert_default();
            let list = match change.field.side {
                Side::Requests => resources.requests.get_or_insert_default(),
                Side::Limits => resources.limits.get_or_insert_default(),
            };
            list.insert(
                change.field.resource.name().to_owned(),
                Text(change.to.canonical()),
            );
        }
    }
    after
}

/// The apply: our fields as they will be. Others' fields are not in it, so they stay theirs.
fn patch(plan: &ResizePlan, after: &PodSpec, ownership: &Ownership) -> Value {
    let mut fields = ownership.ours.clone();
    fields.extend(plan.changes.iter().map(|c| c.field.clone()));
    let app = intents(&after.containers, false, &fields);
    let init = intents(
        after.init_containers.as_deref().unwrap_or_default(),
        true,
        &fields,
    );
    let mut spec = Map::new();
    for (list, containers) in [("containers", app), ("initContainers", init)] {
        if !containers.is_empty() {
            spec.insert(list.to_owned(), Value::Array(containers));
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": plan.pod,
            "namespace": plan.namespace,
            "uid": plan.uid,
            "resourceVersion": plan.resource_version,
        },
        "spec": spec,
    })
}

fn intents(containers: &[Container], init: bool, fields: &BTreeSet<Field>) -> Vec<Value> {
    let mut intents = Vec::new();
    for container in containers {
        let mut resources: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        for field in fields
            .iter()
            .filter(|f| f.init == init && f.container == container.name)
        {
            if let Some(amount) =
                list(container, field.side).and_then(|l| l.get(field.resource.name()))
            {
                resources
                    .entry(field.side.name())
                    .or_default()
                    .insert(field.resource.name(), &amount.0);
            }
        }
        if !resources.is_empty() {
            intents.push(json!({ "name": container.name, "resources": resources }));
        }
    }
    intents
}

#[cfg(test)]
mod tests;
