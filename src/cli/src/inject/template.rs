//! The pod that an object is, or will make of its template.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::{Value, json};

/// The kinds that have one, and where: a pod is its own.
const PLACES: [(&str, &str); 7] = [
    (POD, ""),
    ("Deployment", "/spec/template"),
    ("StatefulSet", "/spec/template"),
    ("DaemonSet", "/spec/template"),
    ("ReplicaSet", "/spec/template"),
    ("Job", "/spec/template"),
    ("CronJob", "/spec/jobTemplate/spec/template"),
];

const POD: &str = "Pod";

/// A pod to be, and where in its object it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template {
    /// The pod. A workload's has a controller: that workload, or what it makes.
    pub(super) pod: Value,
    place: &'static str,
}

impl Template {
    /// That of `object`, which is of `kind`; absent if the kind has none or the object leaves it out.
    pub(super) fn of(object: &Value, kind: &str) -> Option<Self> {
        let (_, place) = PLACES.iter().find(|(known, _)| *known == kind)?;
        let mut pod = object.pointer(place)?.clone();
        if kind != POD {
            own(&mut pod, kind);
        }
        Some(Self { pod, place })
    }

    /// A patch of the pod as a patch of `object`. Unlike a pod that the API
    /// server shows, what stands there may lack metadata.
    pub(super) fn patch(&self, object: &Value, patch: Patch) -> Patch {
        let Ok(base) = PointerBuf::parse(self.place) else {
            return patch;
        };
        let mut operations = patch.0;
        for operation in &mut operations {
            let pointer = match operation {
                PatchOperation::Add(add) => &mut add.path,
                PatchOperation::Remove(remove) => &mut remove.path,
                // No others are made, see `mbcas_webhook::patch`.
                _ => continue,
            };
            *pointer = base.concat(pointer);
        }
        let metadata = base.with_trailing_token("metadata");
        let lacks_it = object.pointer(metadata.as_str()).is_none_or(Value::is_null);
        let needs_it = |operation: &PatchOperation| operation.path().starts_with(&metadata);
        if lacks_it && operations.iter().any(needs_it) {
            let add = AddOperation {
                path: metadata,
                value: json!({}),
            };
            operations.insert(0, PatchOperation::Add(add));
        }
        Patch(operations)
    }
}

/// Gives `pod` a controller.
fn own(pod: &mut Value, kind: &str) {
    let owner =
        json!({ "apiVersion": "apps/v1", "kind": kind, "name": "", "uid": "", "controller": true });
    let Some(pod) = pod.as_object_mut() else {
        return;
    };
    let metadata = pod.entry("metadata").or_insert(Value::Null);
    if metadata.is_null() {
        *metadata = json!({});
    }
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("ownerReferences".to_owned(), json!([owner]));
    }
}
