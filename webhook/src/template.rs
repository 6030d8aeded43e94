//! The pod that a workload will make of its template.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::{Value, json};

/// The kinds that make pods: API group, kind, and where their template is.
pub const WORKLOADS: [(&str, &str, &str); 6] = [
    ("apps", "Deployment", "/spec/template"),
    ("apps", "StatefulSet", "/spec/template"),
    ("apps", "DaemonSet", "/spec/template"),
    ("apps", "ReplicaSet", "/spec/template"),
    ("batch", "Job", "/spec/template"),
    ("batch", "CronJob", "/spec/jobTemplate/spec/template"),
];

/// The pod that a workload of `kind` makes of `template`: it has a controller,
/// this workload or what the workload makes.
pub fn pod(template: &Value, kind: &str) -> Value {
    let owner =
        json!({ "apiVersion": "apps/v1", "kind": kind, "name": "", "uid": "", "controller": true });
    let mut pod = template.clone();
    if let Some(pod) = pod.as_object_mut() {
        let metadata = pod.entry("metadata").or_insert(Value::Null);
        if metadata.is_null() {
            *metadata = json!({});
        }
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("ownerReferences".to_owned(), json!([owner]));
        }
    }
    pod
}

/// A patch of such a pod as a patch of the object that has the template at
/// `place`. Unlike a pod that the API server shows, a template may lack metadata.
pub fn patch_at(object: &Value, place: &str, patch: Patch) -> Patch {
    let Ok(base) = PointerBuf::parse(place) else {
        return patch;
    };
    let mut operations = patch.0;
    for operation in &mut operations {
        let path = match operation {
            PatchOperation::Add(add) => &mut add.path,
            PatchOperation::Remove(remove) => &mut remove.path,
            // No others are made, see `crate::patch`.
            _ => continue,
        };
        *path = base.concat(path);
    }
    let metadata = base.with_trailing_token("metadata");
    let lacks_it = object.pointer(metadata.as_str()).is_none_or(Value::is_null);
    let needs_it = |operation: &PatchOperation| operation.path().starts_with(&metadata);
    if lacks_it && operations.iter().any(needs_it) {
        let value = json!({});
        let path = metadata;
        operations.insert(0, PatchOperation::Add(AddOperation { path, value }));
    }
    Patch(operations)
}
