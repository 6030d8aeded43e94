//! The JSON patch, built on the pod as it came.
//!
//! These paths are touched and no others:
//! - `/metadata/annotations`, keys under `mbcas.dev/` only;
//! - `/spec/containers/N/resources/limits`, `cpu` only, where there was none;
//! - `/spec/initContainers` and `/spec/volumes`, one entry appended to each.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation};
use k8s_openapi::api::core::v1::{Container, Pod};
use mbcas_core::annotations::RESERVED_PREFIX;
use serde_json::{Value, json};

/// Collects operations against one pod.
#[derive(Debug)]
pub struct PatchBuilder<'a> {
    pod: &'a Pod,
    operations: Vec<PatchOperation>,
}

impl<'a> PatchBuilder<'a> {
    /// Starts with nothing to do.
    pub fn new(pod: &'a Pod) -> Self {
        Self {
            pod,
            operations: Vec::new(),
        }
    }

    /// Makes `wanted` the only annotations under `mbcas.dev/`: a tenant's own are overwritten or taken away.
    pub fn annotate(&mut self, wanted: &[(&str, String)]) {
        let Some(present) = &self.pod.metadata.annotations else {
            if !wanted.is_empty() {
                let map: serde_json::Map<_, _> = wanted
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), json!(value)))
                    .collect();
                self.add(["metadata", "annotations"], Value::Object(map));
            }
            return;
        };
        let is_wanted = |key: &str| wanted.iter().any(|(wanted, _)| *wanted == key);
        let stale = present
            .keys()
            .filter(|key| key.starts_with(RESERVED_PREFIX) && !is_wanted(key));
        for key in stale {
            let path = PointerBuf::from_tokens(["metadata", "annotations", key]);
            self.operations
                .push(PatchOperation::Remove(RemoveOperation { path }));
        }
        for (key, value) in wanted {
            if present.get(*key) != Some(value) {
                self.add(["metadata", "annotations", key], json!(value));
            }
        }
    }

    /// Gives the container at `index` the CPU limit `limit`; it has none.
    pub fn limit_cpu(&mut self, index: usize, limit: &str) {
        let containers = self.pod.spec.as_ref().map(|spec| &spec.containers);
        let container = containers.and_then(|containers| containers.get(index));
        let resources = container.and_then(|c: &Container| c.resources.as_ref());
        let index = index.to_string();
        let path = ["spec", "containers", &index, "resources"];
        match resources {
            None => self.add(path, json!({ "limits": { "cpu": limit } })),
            Some(resources) if resources.limits.is_none() => {
                self.add(path.into_iter().chain(["limits"]), json!({ "cpu": limit }));
            }
            Some(_) => self.add(path.into_iter().chain(["limits", "cpu"]), json!(limit)),
        }
    }

    /// Adds an init container at the end; there may be none yet.
    pub fn append_init_container(&mut self, container: Value) {
        let spec = self.pod.spec.as_ref();
        let present = spec.is_some_and(|spec| spec.init_containers.is_some());
        self.append("initContainers", present, container);
    }

    /// Adds a volume at the end; there may be none yet.
    pub fn append_volume(&mut self, volume: Value) {
        let spec = self.pod.spec.as_ref();
        let present = spec.is_some_and(|spec| spec.volumes.is_some());
        self.append("volumes", present, volume);
    }

    fn append(&mut self, list: &str, present: bool, item: Value) {
        if present {
            self.add(["spec", list, "-"], item);
        } else {
            self.add(["spec", list], Value::Array(vec![item]));
        }
    }

    fn add<'t>(&mut self, path: impl IntoIterator<Item = &'t str>, value: Value) {
        let path = PointerBuf::from_tokens(path);
        self.operations
            .push(PatchOperation::Add(AddOperation { path, value }));
    }

    /// The patch; empty if there is nothing to do.
    pub fn build(self) -> Patch {
        Patch(self.operations)
    }
}
