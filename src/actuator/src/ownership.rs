//! Who owns which of a pod's resource fields, read from `metadata.managedFields`.
//!
//! Three facts of the real API server are behind this module:
//! - server-side apply removes every field that its manager owned and leaves
//!   out, and the removal of a limit is refused; so an apply must repeat what
//!   we own already;
//! - an owner *without* a subresource is the pod's creator (kubectl, the
//!   ReplicaSet controller): going past it is taking the pod over, once;
//! - an owner with the subresource `resize` is another resizer. Nobody forces past that.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::Value;

use crate::request::{Resource, Side};

/// One resource amount of one container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field {
    /// It is a sidecar, listed under `initContainers`.
    pub init: bool,
    /// The container's name.
    pub container: String,
    /// Requests or limits.
    pub side: Side,
    /// CPU or memory.
    pub resource: Resource,
}

/// Who owns a pod's resource fields, as far as a resize is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// Fields that our manager owns through `resize`.
    pub ours: BTreeSet<Field>,
    /// Fields that another manager owns through `resize`, with its name.
    pub resizers: Vec<(String, Field)>,
}

impl Ownership {
    /// Reads the entries of `pod`; `manager` is our own name.
    pub fn of(pod: &Pod, manager: &str) -> Self {
        let mut ownership = Self::default();
        for entry in pod.metadata.managed_fields.as_deref().unwrap_or_default() {
            if entry.subresource.as_deref() != Some("resize") {
                continue;
            }
            let name = entry.manager.as_deref().unwrap_or_default();
            let ours = name == manager && entry.operation.as_deref() == Some("Apply");
            for field in fields(entry) {
                if ours {
                    ownership.ours.insert(field);
                } else {
                    ownership.resizers.push((name.to_owned(), field));
                }
            }
        }
        ownership
    }

    /// The other resizer that owns `field`, if one does.
    pub fn resizer_of(&self, field: &Field) -> Option<&str> {
        self.resizers
            .iter()
            .find(|(_, owned)| owned == field)
            .map(|(name, _)| name.as_str())
    }
}

fn fields(entry: &ManagedFieldsEntry) -> Vec<Field> {
    let mut found = Vec::new();
    let Some(spec) = entry.fields_v1.as_ref().and_then(|f| f.0.get("f:spec")) else {
        return found;
    };
    for (list, init) in [("f:containers", false), ("f:initContainers", true)] {
        let containers = spec
            .get(list)
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        for (key, owned) in containers {
            if let Some(container) = container_name(key) {
                collect(owned, init, &container, &mut found);
            }
        }
    }
    found
}

fn collect(owned: &Value, init: bool, container: &str, found: &mut Vec<Field>) {
    for side in [Side::Requests, Side::Limits] {
        for resource in [Resource::Cpu, Resource::Memory] {
            let path = format!("/f:resources/f:{}/f:{}", side.name(), resource.name());
            if owned.pointer(&path).is_some() {
                found.push(Field {
                    init,
                    container: container.to_owned(),
                    side,
                    resource,
                });
            }
        }
    }
}

/// The name in a list key such as `k:{"name":"app"}`.
fn container_name(key: &str) -> Option<String> {
    let selector: Value = serde_json::from_str(key.strip_prefix("k:")?).ok()?;
    Some(selector.get("name")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests;
