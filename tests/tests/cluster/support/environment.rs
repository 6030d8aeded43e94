//! Where things are, from the environment.

use std::path::{Path, PathBuf};
use std::process::Command;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

#[path = "../../shared/command.rs"]
mod command;
pub(crate) use command::output_of;

/// The checkout.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The kubeconfig of the cluster that the suite may do to as it likes.
pub(crate) fn kubeconfig() -> PathBuf {
    let path = std::env::var_os("MBCAS_TEST_KUBECONFIG").map(PathBuf::from);
    let path = path.expect(
        "MBCAS_TEST_KUBECONFIG is not set: it must name the kubeconfig of a cluster that this suite may \
         install to, break and clean up. `make test` starts one and sets it. The ambient kubeconfig is never used",
    );
    assert!(
        path.is_file(),
        "MBCAS_TEST_KUBECONFIG={}: there is no such file. Start the cluster: make up",
        path.display()
    );
    path
}

/// A client for that cluster, as its administrator.
pub(crate) async fn client() -> Client {
    Client::try_from(config().await).unwrap()
}

/// A client for that cluster, with the rights of `user` and no others.
pub(crate) async fn client_as(user: &str) -> Client {
    let mut config = config().await;
    config.auth_info.impersonate = Some(user.to_owned());
    Client::try_from(config).unwrap()
}

async fn config() -> Config {
    // Fails only if a provider is installed already, and then there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let file = Kubeconfig::read_from(kubeconfig()).unwrap();
    let usual = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(file, &usual).await.unwrap()
}

/// An image's reference in its parts.
pub(crate) struct Image {
    pub(crate) registry: String,
    pub(crate) repository: String,
    pub(crate) tag: String,
}

impl Image {
    /// What `deploy/images.sh` built under `name`.
    pub(crate) fn built(name: &str) -> Self {
        let file = images().join(format!("{name}.ref"));
        let text = std::fs::read_to_string(&file);
        let text = text.unwrap_or_else(|why| {
            panic!("{}: {why}. Build the images: make images", file.display())
        });
        let parts = text
            .trim()
            .rsplit_once('/')
            .and_then(|(registry, rest)| Some((registry, rest.rsplit_once(':')?)));
        let (registry, (repository, tag)) =
            parts.unwrap_or_else(|| panic!("{text:?} is not REGISTRY/NAME:TAG"));
        Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.to_owned(),
        }
    }

    /// The whole reference.
    pub(crate) fn reference(&self) -> String {
        format!("{}/{}:{}", self.registry, self.repository, self.tag)
    }
}

fn images() -> PathBuf {
    let own = std::env::var_os("MBCAS_TEST_IMAGES").map(PathBuf::from);
    own.unwrap_or_else(|| workspace().join("target/images"))
}

/// A binary as it is in an image.
pub(crate) fn binary(image: &str, name: &str) -> PathBuf {
    let path = images().join("context").join(image).join(name);
    assert!(
        path.is_file(),
        "{} is not there. Build the images: make images",
        path.display()
    );
    path
}

/// helm, on this cluster and no other.
pub(crate) fn helm() -> Command {
    let mut command = Command::new(tool("MBCAS_TEST_HELM", "helm"));
    command
        .env("KUBECONFIG", kubeconfig())
        .current_dir(workspace());
    command
}

/// cert-manager: the program of tests/cert-manager.
pub(crate) fn cert_manager() -> PathBuf {
    tool("MBCAS_TEST_CERT_MANAGER", "cert-manager")
}

/// A program that `variable` names, or that the local cluster has built.
fn tool(variable: &str, name: &str) -> PathBuf {
    let path = std::env::var_os(variable).map_or_else(|| cached(variable, name), PathBuf::from);
    assert!(
        path.is_file(),
        "there is no {name} at {}: set {variable}, or build it: deploy/local/cluster build {name}",
        path.display()
    );
    path
}

fn cached(variable: &str, name: &str) -> PathBuf {
    let cluster = workspace().join("deploy/local/cluster");
    let output = Command::new(&cluster).args(["path", name]).output();
    let output = output
        .unwrap_or_else(|why| panic!("{}: {why}. Set {variable} to a {name}", cluster.display()));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// The local cluster's own script.
pub(crate) fn local_cluster() -> Command {
    Command::new(workspace().join("deploy/local/cluster"))
}

/// The kubelet's process on this machine; none where the cluster is another.
pub(crate) fn local_kubelet() -> Option<String> {
    let status = local_cluster().arg("status").output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    let line = status.lines().find(|line| line.starts_with("kubelet "))?;
    line.rsplit("PID ").next().map(|pid| pid.trim().to_owned())
}
