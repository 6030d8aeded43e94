//! Kubelets whose certificates the cluster's authority did not sign, as kubeadm leaves them.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::support::environment::{local_cluster, local_kubelet, output_of};
use crate::support::wait::that;
use crate::support::{Admission, Lab, Release, Space, http, on_cluster, release, wait_until};

/// A new leader, two windows of the kubelet's, and [`CLEAN`].
const READ: Duration = Duration::from_mins(4);

/// Three cycles: in each of them a kubelet that is refused is one more failure.
const CLEAN: Duration = Duration::from_secs(3 * release::INTERVAL);

/// Where the kubelet's authorities are for MBCAS.
const AUTHORITIES: &str = "kubelet-authorities";

/// The kubelet has a certificate of its own until this is dropped.
struct SelfSigned {
    /// Whoever signed it, in PEM.
    authority: String,
}

impl SelfSigned {
    fn new() -> Self {
        let file = output_of(local_cluster().args(["kubelet-certificate", "self-signed"]));
        let authority = std::fs::read_to_string(file.trim()).unwrap();
        Self { authority }
    }
}

impl Drop for SelfSigned {
    fn drop(&mut self) {
        output_of(local_cluster().args(["kubelet-certificate", "signed"]));
    }
}

#[test]
fn a_kubelet_that_signs_for_itself_is_believed_only_by_those_who_are_told() {
    on_cluster("kubelet-tls", Admission::Labelled, async |space| {
        if local_kubelet().is_none() {
            figure!("not the local cluster: its kubelet is left alone");
            return;
        }
        space
            .start(&Lab::serve("web", &[]).request("20m").limit("100m"))
            .await;
        reads(space, "signed by the cluster's authority").await;

        let kubelet = SelfSigned::new();
        let before = failures(space).await.unwrap_or(0.0);
        wait_until("the kubelet is refused", READ, async || {
            let now = failures(space).await?;
            that(now > before, format!("{now} failures, {before} before"))
        })
        .await;

        let maps: Api<ConfigMap> = Api::namespaced(space.client.clone(), release::NAMESPACE);
        let map =
            json!({"metadata": {"name": AUTHORITIES}, "data": {"kubelet.pem": kubelet.authority}});
        let map = serde_json::from_value(map).unwrap();
        let now = DeleteParams::default();
        let _ = maps.delete(AUTHORITIES, &now).await;
        maps.create(&PostParams::default(), &map).await.unwrap();
        let named = format!("controller.kubeletCA.configMap={AUTHORITIES}");
        Release::upgrade(&[
            "--set=controller.kubeletTLS=caBundle",
            "--set=controller.kubeletCA.key=kubelet\\.pem",
            &format!("--set={named}"),
        ]);
        reads(space, "signed by itself, its authority named").await;

        Release::upgrade(&["--set=controller.kubeletTLS=insecure"]);
        reads(space, "signed by itself, unchecked").await;

        drop(kubelet);
        maps.delete(AUTHORITIES, &now).await.unwrap();
    });
}

/// Waits until one leader has read what `web` uses, and has not been refused for [`CLEAN`]. One that is on its way out
/// after an upgrade may have been before.
async fn reads(space: &Space, how: &str) {
    let (mut last, mut since) = (None, Instant::now());
    let failed = wait_until("the kubelet is read without a refusal", READ, async || {
        let metrics = space.release.metrics().await?;
        let series = format!(
            "mbcas_usage_cpu_mcores{{container=\"app\",namespace=\"{}\"",
            space.name
        );
        that(metrics.contains(&series), "no usage of the pod")?;
        let now = (space.release.holder().await, failures(space).await?);
        if last.as_ref() != Some(&now) {
            (last, since) = (Some(now.clone()), Instant::now());
        }
        let calm = format!("{now:?} for {:.0?}", since.elapsed());
        that(since.elapsed() >= CLEAN, calm)?;
        Ok(now.1)
    })
    .await;
    figure!("kubelet's certificate {how}: read; {failed} failures before, none for {CLEAN:?}");
}

/// How often the leader could not read a kubelet.
async fn failures(space: &Space) -> Result<f64, String> {
    let metrics = space.release.metrics().await?;
    Ok(http::sum_of(&metrics, "mbcas_kubelet_failures_total").unwrap_or(0.0))
}
