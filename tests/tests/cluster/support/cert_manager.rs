//! cert-manager on this machine, for a cluster that no registry reaches.

use std::fs::{DirEntry, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, ResourceExt};

use super::environment::{cert_manager, kubeconfig};
use super::wait::that;
use super::{SOON, wait_until};

/// Lines of its log that a failed test shows.
const LINES: usize = 60;

/// cert-manager at work on this cluster.
pub(crate) struct CertManager {
    process: Child,
    log: PathBuf,
}

impl CertManager {
    /// Brings its kinds and starts it.
    pub(crate) async fn start(client: &Client) -> Self {
        let program = cert_manager();
        let kinds: Api<CustomResourceDefinition> = Api::all(client.clone());
        for kind in kinds_beside(&program) {
            let apply = PatchParams::apply("mbcas-test").force();
            let name = kind.name_any();
            kinds
                .patch(&name, &apply, &Patch::Apply(kind))
                .await
                .unwrap();
            wait_until("the kind is served", SOON, async || {
                let status = kinds.get(&name).await.unwrap().status.unwrap_or_default();
                let mut conditions = status.conditions.into_iter().flatten();
                let is = conditions.any(|one| one.type_ == "Established" && one.status == "True");
                that(is, &name)
            })
            .await;
        }
        let log = std::env::temp_dir().join(format!("mbcas-cert-manager-{}", std::process::id()));
        let file = File::create(&log).unwrap();
        let process = Command::new(&program)
            .arg("-kubeconfig")
            .arg(kubeconfig())
            .args(["-v", "2"])
            // It ends with this pipe, if nobody is left to end it.
            .stdin(Stdio::piped())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn();
        let process = process.unwrap_or_else(|why| panic!("{}: {why}", program.display()));
        Self { process, log }
    }

    /// Its last words.
    pub(crate) fn tell(&self) {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let last = lines.len().saturating_sub(LINES);
        println!("--- cert-manager\n{}", lines[last..].join("\n"));
    }

    /// Ends it, and takes away its kinds with what there is of them.
    pub(crate) async fn leave(self, client: &Client) {
        let kinds: Api<CustomResourceDefinition> = Api::all(client.clone());
        for kind in kinds_beside(&cert_manager()) {
            let name = kind.name_any();
            kinds.delete(&name, &DeleteParams::default()).await.unwrap();
            wait_until("the kind goes", SOON, async || {
                let found = kinds.get_opt(&name).await.unwrap();
                that(found.is_none(), &name)
            })
            .await;
        }
    }
}

impl Drop for CertManager {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.log);
    }
}

/// The definitions of cert-manager's kinds, as its module has them.
fn kinds_beside(program: &Path) -> Vec<CustomResourceDefinition> {
    let folder = program.with_file_name("crds");
    let files =
        std::fs::read_dir(&folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let read = |file: std::io::Result<DirEntry>| {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        serde_saphyr::from_str(&text).unwrap()
    };
    files.map(read).collect()
}
