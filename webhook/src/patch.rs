//! The JSON patch, built on the pod as it came.
//!
//! These paths are touched and no others:
//! - `/metadata/annotations`: keys under `mbcas.dev/`, and of the user's own those
//!   that the namespace's BudgetPolicy fills in or lowers (`mbcas.budget`,
//!   `mbcas.minCPU`, `mbcas.maxCPU`, `mbcas.mode`) and a mesh's list of ports that
//!   it leaves alone, where the pod has one ([`crate::mesh`]);
//! - `/spec/containers/N/resources`: the participating container's CPU limit, and
//!   its CPU request, where it has none;
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

    /// Sets the annotations `wanted`, and makes them the only ones under `mbcas.dev/`: a tenant's own are overwritten or taken away.
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

    /// Gives the container at `index` a CPU request and a CPU limit, where it has none.
    pub fn cpu(&mut self, index: usize, request: Option<&str>, limit: Option<&str>) {
        let containers = self.pod.spec.as_ref().map(|spec| &spec.containers);
        let container = containers.and_then(|containers| containers.get(index));
        let resources = container.and_then(|c: &Container| c.resources.as_ref());
        let has = |list: &str| match (list, resources) {
            (_, None) => false,
            ("requests", Some(resources)) => resources.requests.is_some(),
            (_, Some(resources)) => resources.limits.is_some(),
        };
        let index = index.to_string();
        let path = ["spec", "containers", &index, "resources"];
        let given = [("requests", request), ("limits", limit)];
        let given = given
            .into_iter()
            .filter_map(|(list, cpu)| Some((list, cpu?)));
        if resources.is_none() {
            let lists: serde_json::Map<_, _> = given
                .map(|(list, cpu)| (list.to_owned(), json!({ "cpu": cpu })))
                .collect();
            if !lists.is_empty() {
                self.add(path, Value::Object(lists));
            }
            return;
        }
        for (list, cpu) in given {
            let path = path.into_iter().chain([list]);
            if has(list) {
                self.add(path.chain(["cpu"]), json!(cpu));
            } else {
                self.add(path, json!({ "cpu": cpu }));
            }
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
