//! The JSON patch, built on the pod as it came.
//!
//! These paths are touched and no others:
//! - `/metadata/annotations`: keys under `mbcas.dev/`, and of the user's own those
//!   that the namespace's BudgetPolicy fills in or lowers (`mbcas.budget`,
//!   `mbcas.minCPU`, `mbcas.maxCPU`, `mbcas.mode`) and a mesh's list of ports that
//!   it leaves alone, where the pod has one ([`crate::mesh`]);
//! - `/spec/containers/N/resources`: the participating container's CPU limit, and
//!   its CPU request, where it has none;
//! - `/spec/initContainers` and `/spec/volumes`, one entry appended to each;
//! - `/spec/shareProcessNamespace`, set where `mbcas.processes` asks for it ([`crate::processes`]).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use mbcas_core::annotations::RESERVED_PREFIX;
use serde::Serialize;

/// A JSON patch (RFC 6902), as the text that is sent: most of it is the
/// sidecar, which is the same for every pod and was written once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch(String);

impl Patch {
    /// Whether it changes nothing.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its text; empty where it changes nothing.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its operations, for whoever applies it.
    ///
    /// # Errors
    /// None that is known: it was written here.
    pub fn operations(&self) -> Result<json_patch::Patch, serde_json::Error> {
        serde_json::from_str(if self.is_empty() { "[]" } else { &self.0 })
    }
}

/// How many bytes a patch that injects has, or more.
const USUAL: usize = 4 * 1024;

/// Collects operations against one pod.
#[derive(Debug)]
pub struct PatchBuilder<'a> {
    pod: &'a Pod,
    text: String,
}

impl<'a> PatchBuilder<'a> {
    /// Starts with nothing to do.
    pub fn new(pod: &'a Pod) -> Self {
        Self {
            pod,
            text: String::with_capacity(USUAL),
        }
    }

    /// Sets the annotations `wanted`, and makes them the only ones under `mbcas.dev/`: a tenant's own are overwritten or taken away.
    pub fn annotate(&mut self, wanted: &[(&str, String)]) {
        let Some(present) = &self.pod.metadata.annotations else {
            if !wanted.is_empty() {
                let map: BTreeMap<_, _> = wanted.iter().map(|(key, value)| (key, value)).collect();
                self.add(&["metadata", "annotations"], &as_json(&map));
            }
            return;
        };
        let is_wanted = |key: &str| wanted.iter().any(|(wanted, _)| *wanted == key);
        let stale = present
            .keys()
            .filter(|key| key.starts_with(RESERVED_PREFIX) && !is_wanted(key));
        for key in stale {
            self.remove(&["metadata", "annotations", key]);
        }
        for (key, value) in wanted {
            if present.get(*key) != Some(value) {
                self.add(&["metadata", "annotations", key], &as_json(value));
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
            .filter_map(|(list, cpu)| Some((list, BTreeMap::from([("cpu", cpu?)]))));
        if resources.is_none() {
            let lists: BTreeMap<_, _> = given.collect();
            if !lists.is_empty() {
                self.add(&path, &as_json(&lists));
            }
            return;
        }
        for (list, cpu) in given {
            let [spec, containers, index, resources] = path;
            if has(list) {
                let path = [spec, containers, index, resources, list, "cpu"];
                self.add(&path, &as_json(cpu["cpu"]));
            } else {
                self.add(&[spec, containers, index, resources, list], &as_json(&cpu));
            }
        }
    }

    /// Adds an init container, which is given as JSON, at the end; there may be none yet.
    pub fn append_init_container(&mut self, container: &str) {
        let spec = self.pod.spec.as_ref();
        let present = spec.is_some_and(|spec| spec.init_containers.is_some());
        self.append("initContainers", present, container);
    }

    /// Adds a volume, which is given as JSON, at the end; there may be none yet.
    pub fn append_volume(&mut self, volume: &str) {
        let spec = self.pod.spec.as_ref();
        let present = spec.is_some_and(|spec| spec.volumes.is_some());
        self.append("volumes", present, volume);
    }

    /// Lets the pod's containers see each other's processes.
    pub fn share_processes(&mut self) {
        self.add(&["spec", "shareProcessNamespace"], "true");
    }

    fn append(&mut self, list: &str, present: bool, item: &str) {
        if present {
            self.add(&["spec", list, "-"], item);
        } else {
            self.add(&["spec", list], &format!("[{item}]"));
        }
    }

    /// Sets what is at `path` to `value`, which is JSON.
    fn add(&mut self, path: &[&str], value: &str) {
        self.begin("add", path);
        self.text.push_str(r#","value":"#);
        self.text.push_str(value);
        self.text.push('}');
    }

    /// Takes away what is at `path`.
    fn remove(&mut self, path: &[&str]) {
        self.begin("remove", path);
        self.text.push('}');
    }

    fn begin(&mut self, operation: &str, path: &[&str]) {
        self.text.push(if self.text.is_empty() { '[' } else { ',' });
        self.text.push_str(r#"{"op":""#);
        self.text.push_str(operation);
        self.text.push_str(r#"","path":""#);
        for token in path {
            self.text.push('/');
            // RFC 6901, and what is left as any text in JSON.
            let mut parts = token.split('/');
            self.push_escaped(parts.next().unwrap_or_default());
            for part in parts {
                self.text.push_str("~1");
                self.push_escaped(part);
            }
        }
        self.text.push('"');
    }

    /// A part of a pointer, without its slashes. Only what a tenant has made up needs more than copying.
    fn push_escaped(&mut self, part: &str) {
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if part.bytes().all(is_plain) {
            self.text.push_str(part);
        } else {
            let quoted = as_json(&part.replace('~', "~0"));
            let inside = quoted
                .strip_prefix('"')
                .and_then(|text| text.strip_suffix('"'));
            self.text.push_str(inside.unwrap_or_default());
        }
    }

    /// The patch; empty if there is nothing to do.
    pub fn build(mut self) -> Patch {
        if !self.text.is_empty() {
            self.text.push(']');
        }
        Patch(self.text)
    }
}

/// `value`, which is text or lists and maps of text, as JSON.
pub(crate) fn as_json(value: &(impl Serialize + ?Sized)) -> String {
    // Text can always be written.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_and_values_are_escaped() {
        let stale = "mbcas.dev/a~b/\"\\\n\"";
        let pod = json!({"metadata": {"annotations": {stale: "x", "other": "y"}}, "spec": {"containers": []}});
        let typed: Pod = serde_json::from_value(pod.clone()).unwrap();
        let mut patch = PatchBuilder::new(&typed);
        patch.annotate(&[("mbcas.dev/b", "{\"a\":\u{1}}".to_owned())]);
        let mut patched = pod;
        json_patch::patch(&mut patched, &patch.build().operations().unwrap()).unwrap();
        assert_eq!(
            patched["metadata"]["annotations"],
            json!({"mbcas.dev/b": "{\"a\":\u{1}}", "other": "y"})
        );
    }

    #[test]
    fn nothing_to_do_is_no_patch() {
        let patch = PatchBuilder::new(&Pod::default()).build();
        assert!(patch.is_empty() && patch.operations().unwrap().0.is_empty());
    }
}
