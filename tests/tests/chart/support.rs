//! Where the tools are, and what helm makes of the chart.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

#[path = "../shared/command.rs"]
mod command;
pub(crate) use command::output_of;

/// Where the chart is installed in these tests.
pub(crate) const NAMESPACE: &str = "mbcas-system";

/// The checkout.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The text of a file of the checkout.
pub(crate) fn text(file: &str) -> String {
    let path = workspace().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// A folder for what a test writes.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join("chart")
        .join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// One of the two helms that are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Helm {
    Three,
    Four,
}

impl Helm {
    pub(crate) const BOTH: [Self; 2] = [Self::Three, Self::Four];

    fn binary(self) -> PathBuf {
        let (variable, set) = match self {
            Self::Three => ("MBCAS_TEST_HELM3", "helm3"),
            Self::Four => ("MBCAS_TEST_HELM", "helm"),
        };
        let path = std::env::var_os(variable).map_or_else(|| cached(set), PathBuf::from);
        assert!(
            path.is_file(),
            "there is no helm at {}: deploy/local/cluster build {set}, or set {variable}",
            path.display()
        );
        path
    }

    /// This helm, with no cluster to ask and no folder of the user's to look into.
    pub(crate) fn command(self) -> Command {
        let home = scratch("helm");
        let mut command = Command::new(self.binary());
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, &home);
        }
        command
            .env("KUBECONFIG", "/dev/null")
            .current_dir(workspace());
        command
    }

    /// `helm template` with `words` more.
    pub(crate) fn template(self, words: &[&str]) -> Command {
        let mut command = self.command();
        command.args(["template", "mbcas", "./chart", "--namespace", NAMESPACE]);
        if !words.contains(&"--kube-version") {
            command.args(["--kube-version", "1.33.0"]);
        }
        command.args(words);
        command
    }

    /// What helm says when it refuses to render with `words`.
    pub(crate) fn refusal(self, words: &[&str]) -> String {
        let output = self.template(words).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success(),
            "{self:?}: {words:?} was taken: {said}"
        );
        said
    }
}

fn cached(set: &str) -> PathBuf {
    let cluster = workspace().join("deploy/local/cluster");
    let output = Command::new(cluster).args(["path", set]).output().unwrap();
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// The objects in what helm rendered.
pub(crate) fn objects(rendered: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(rendered).unwrap();
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect()
}

/// The objects of the chart with `words` for helm.
pub(crate) fn rendered(words: &[&str]) -> Vec<Value> {
    objects(&output_of(&mut Helm::Four.template(words)))
}

/// How an object is called, kind first.
pub(crate) fn name(object: &Value) -> String {
    let part = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!(
        "{} {}",
        part(&object["kind"]),
        part(&object["metadata"]["name"])
    )
}

/// The object of that kind and name.
pub(crate) fn find<'a>(objects: &'a [Value], kind: &str, called: &str) -> &'a Value {
    let found = objects
        .iter()
        .find(|object| name(object) == format!("{kind} {called}"));
    found.unwrap_or_else(|| panic!("the chart has no {kind} {called}"))
}

/// The entries of `value`, none where it is absent.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
