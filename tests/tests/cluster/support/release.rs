//! The release under test, installed once for all.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use futures::FutureExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use mbcas_api::names::{
    ADMIN_PORT, CONTROLLER_DEPLOYMENT, CONTROLLER_LEASE, DECISIONS_PATH, WEBHOOK_DEPLOYMENT,
};
use serde_json::json;

use super::environment::{self, Image, output_of};
use super::wait::that;
use super::{SOON, http, wait_until};

/// Where it is installed.
pub(crate) const NAMESPACE: &str = "mbcas-system";
/// What it is called.
pub(crate) const NAME: &str = "mbcas";

/// Seconds between two cycles here: the least that the controller takes. The
/// rules of the market keep their own times, so nothing but waiting gets shorter.
pub(crate) const INTERVAL: u64 = 5;

/// The chart, from the root of the repository, where all commands run.
pub(crate) const CHART: &str = "./chart";

static INSTALLED: Mutex<bool> = Mutex::new(false);

/// The words that make helm render or install what was built here.
pub(crate) fn values() -> Vec<String> {
    let mut words = Vec::new();
    for (prefix, name) in [("image", "mbcas"), ("agent.image", "agent")] {
        let image = Image::built(name);
        let parts = [
            ("registry", image.registry),
            ("repository", image.repository),
            ("tag", image.tag),
        ];
        for (part, value) in parts {
            words.extend([
                "--set-string".to_owned(),
                format!("{prefix}.{part}={value}"),
            ]);
        }
    }
    words
}

/// The release, through its API server.
pub(crate) struct Release {
    client: Client,
}

/// Takes away what an interrupted install or uninstall left: helm would not upgrade it.
fn clear_broken() {
    let mut status = environment::helm();
    status.args(["status", NAME, "--namespace", NAMESPACE, "--output", "json"]);
    let found = status.output().unwrap();
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap_or_default();
    let state = found["info"]["status"].as_str().unwrap_or_default();
    if state.starts_with("pending") || state == "uninstalling" {
        let mut helm = environment::helm();
        let words = ["uninstall", NAME, "--namespace", NAMESPACE];
        output_of(helm.args(words).args(["--no-hooks", "--wait"]));
    }
}

/// Installs or upgrades it, and waits until it runs.
fn upgrade(chart: &Path, words: &[&str]) {
    let interval = format!("controller.intervalSeconds={INTERVAL}");
    let mut helm = environment::helm();
    helm.args(["upgrade", "--install", NAME])
        .arg(chart)
        .args(["--namespace", NAMESPACE, "--create-namespace"])
        .args(["--set", "controller.replicas=2", "--set", &interval])
        .args(["--set", "controller.logLevel=info\\,mbcas_controller=debug"])
        .args(values())
        .args(words)
        .args(["--wait", "--timeout", "120s"]);
    let more = std::env::var("MBCAS_TEST_HELM_ARGS").unwrap_or_default();
    helm.args(more.split_whitespace());
    output_of(&mut helm);
}

impl Release {
    /// Installs it unless that was done, with two controllers, in mode auto.
    pub(crate) fn ensure() {
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if *installed {
            return;
        }
        clear_broken();
        upgrade(Path::new(CHART), &[]);
        *installed = true;
    }

    /// Upgrades it with `words` more for helm. Whoever asks for the release next gets it as it was before.
    pub(crate) fn upgrade(words: &[&str]) {
        Self::upgrade_to(Path::new(CHART), words);
    }

    /// The same, to another `chart`.
    pub(crate) fn upgrade_to(chart: &Path, words: &[&str]) {
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        *installed = false;
        upgrade(chart, words);
    }

    /// Removes it as a user would.
    pub(crate) fn uninstall() {
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        let mut helm = environment::helm();
        helm.args(["uninstall", NAME, "--namespace", NAMESPACE, "--wait"]);
        output_of(&mut helm);
        *installed = false;
    }

    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Who holds the Lease; empty if nobody does.
    pub(crate) async fn holder(&self) -> String {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        let lease = leases.get_opt(CONTROLLER_LEASE).await.unwrap();
        let spec = lease.and_then(|lease| lease.spec).unwrap_or_default();
        spec.holder_identity.unwrap_or_default()
    }

    /// The pod that leads.
    pub(crate) async fn leader(&self) -> Pod {
        wait_until("a controller leads", SOON, async || {
            let holder = self.holder().await;
            let name = holder.rsplit_once('_').map(|(pod, _)| pod);
            let name = name.ok_or_else(|| format!("the Lease's holder is {holder:?}"))?;
            let pod = self.pods().get_opt(name).await.unwrap();
            pod.ok_or_else(|| format!("the holder {name} is gone"))
        })
        .await
    }

    /// The leader's `/metrics`.
    pub(crate) async fn metrics(&self) -> Result<String, String> {
        http::page(&admin_address(&self.leader().await)?, "/metrics").await
    }

    /// The leader's last decisions, a line of JSON each.
    pub(crate) async fn decisions(&self) -> Result<String, String> {
        http::page(&admin_address(&self.leader().await)?, DECISIONS_PATH).await
    }

    /// Returns when `count` more cycles have run.
    pub(crate) async fn after_cycles(&self, count: f64) {
        let cycles =
            async || http::sum_of(&self.metrics().await.ok()?, "mbcas_cycle_seconds_count");
        let before = cycles().await.unwrap_or(0.0);
        wait_until("the controller's cycles", SOON, async || {
            let now = cycles().await.unwrap_or(0.0);
            // A new leader counts from zero.
            that(
                now >= before + count || (now < before && now >= count),
                format!("{now} cycles, {before} before"),
            )
        })
        .await;
    }

    /// Runs `body` while there is no webhook to call, and brings it back.
    pub(crate) async fn without_webhook(&self, body: impl Future<Output = ()>) {
        Box::pin(self.without(WEBHOOK_DEPLOYMENT, body)).await;
    }

    /// Runs `body` while there is no controller, and brings them back.
    pub(crate) async fn without_controller(&self, body: impl Future<Output = ()>) {
        Box::pin(self.without(CONTROLLER_DEPLOYMENT, body)).await;
    }

    async fn without(&self, deployment: &str, body: impl Future<Output = ()>) {
        let replicas = self.scale(deployment, 0).await;
        let outcome = AssertUnwindSafe(Box::pin(body)).catch_unwind().await;
        self.scale(deployment, replicas).await;
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    }

    /// Scales a Deployment of ours and waits until it is so; gives the replicas before.
    async fn scale(&self, deployment: &str, replicas: i32) -> i32 {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), NAMESPACE);
        let scale = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let before = deployments.get_scale(deployment).await.unwrap();
        deployments
            .patch_scale(deployment, &PatchParams::default(), &scale)
            .await
            .unwrap();
        let component = deployment.trim_start_matches("mbcas-");
        let selector = format!("app.kubernetes.io/component={component}");
        wait_until("a Deployment of ours scales", SOON, async || {
            let found = deployments.get(deployment).await.unwrap();
            let ready = found.status.and_then(|s| s.ready_replicas).unwrap_or(0);
            let selector = ListParams::default().labels(&selector);
            let pods = self.pods().list(&selector).await.unwrap().items;
            let names: Vec<_> = pods.iter().map(ResourceExt::name_any).collect();
            that(
                ready == replicas && i32::try_from(names.len()) == Ok(replicas),
                format!("{ready} are ready, there are {names:?}"),
            )
        })
        .await;
        before.spec.and_then(|spec| spec.replicas).unwrap_or(1)
    }
}

/// Where one of our own pods serves its metrics.
pub(crate) fn admin_address(pod: &Pod) -> Result<String, String> {
    let ip = pod.status.as_ref().and_then(|s| s.pod_ip.clone());
    let ip = ip.ok_or_else(|| format!("{} has no address", pod.name_any()))?;
    Ok(format!("{ip}:{ADMIN_PORT}"))
}
