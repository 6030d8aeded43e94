//! Whom the API server trusts: repaired where the webhook keeps it, and left to those who provide it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, Resource, ResourceExt};
use mbcas_api::names::{
    CA_BUNDLE_FIELD_MANAGER, VALIDATING_WEBHOOK_CONFIGURATION, WEBHOOK_CONFIGURATION,
    WEBHOOK_SERVICE,
};
use mbcas_core::exposition::samples;
use serde_json::{Value, json};

use crate::support::release::{NAMESPACE, admin_address};
use crate::support::space::{dry_run, has_agent};
use crate::support::wait::that;
use crate::support::{Admission, Lab, Release, SOON, Space, http, on_cluster, wait_until};

/// The two configurations, untyped: what is in them is looked at and changed.
fn configurations(client: &Client) -> [(Api<DynamicObject>, &'static str); 2] {
    let api = |kind: &str, plural: &str| {
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
        let resource = kube::api::ApiResource::from_gvk_with_plural(&kind, plural);
        Api::all_with(client.clone(), &resource)
    };
    let plurals = [
        MutatingWebhookConfiguration::plural(&()),
        ValidatingWebhookConfiguration::plural(&()),
    ];
    [
        (
            api("MutatingWebhookConfiguration", &plurals[0]),
            WEBHOOK_CONFIGURATION,
        ),
        (
            api("ValidatingWebhookConfiguration", &plurals[1]),
            VALIDATING_WEBHOOK_CONFIGURATION,
        ),
    ]
}

/// Takes every `caBundle` of a configuration away.
async fn take_away(api: &Api<DynamicObject>, name: &str) {
    let found = api.get(name).await.unwrap();
    let entries = found.data["webhooks"].as_array().unwrap().len();
    let path = |entry| format!("/webhooks/{entry}/clientConfig/caBundle");
    let wipe: Vec<_> = (0..entries)
        .map(|entry| json!({"op": "remove", "path": path(entry)}))
        .collect();
    let wipe = Patch::<()>::Json(serde_json::from_value(json!(wipe)).unwrap());
    api.patch(name, &PatchParams::default(), &wipe)
        .await
        .unwrap();
}

/// Takes every `caBundle` of both away.
pub(crate) async fn take_all_away(client: &Client) {
    for (api, name) in configurations(client) {
        take_away(&api, name).await;
    }
}

/// The `caBundle` of every entry of both, null where there is none.
pub(crate) async fn bundles(client: &Client) -> Vec<Value> {
    let mut bundles = Vec::new();
    for (api, name) in configurations(client) {
        let found = api.get(name).await.unwrap();
        let webhooks = found.data["webhooks"].as_array().unwrap();
        bundles.extend(
            webhooks
                .iter()
                .map(|webhook| webhook["clientConfig"]["caBundle"].clone()),
        );
    }
    bundles
}

/// The fields that a field manager owns, those within each other's names joined.
fn fields(owned: &Value, path: &str, found: &mut Vec<String>) {
    for (key, inner) in owned.as_object().into_iter().flatten() {
        match key.strip_prefix("f:") {
            Some(field) => {
                let path = format!("{path}.{field}");
                if inner.as_object().is_some_and(serde_json::Map::is_empty) {
                    found.push(path.clone());
                }
                fields(inner, &path, found);
            }
            None => fields(inner, path, found),
        }
    }
}

#[test]
fn a_ca_bundle_that_somebody_takes_away_is_back_in_seconds_and_is_all_that_the_webhook_owns() {
    on_cluster("trust", Admission::Labelled, async |space| {
        let before = bundles(&space.client).await;
        assert_eq!(before.len(), 3);
        assert!(before.iter().all(Value::is_string), "{before:?}");
        for (api, name) in configurations(&space.client) {
            let begin = Instant::now();
            take_away(&api, name).await;
            wait_until("the caBundle is back", SOON, async || {
                let now = bundles(&space.client).await;
                that(now == before, format!("{now:?}"))
            })
            .await;
            let took = begin.elapsed();
            figure!("{name}: a caBundle that was taken away was back in {took:.1?}");
            assert!(took < Duration::from_secs(10), "{took:?}");

            let found = api.get(name).await.unwrap();
            let managers = found.metadata.managed_fields.unwrap();
            let ours = managers
                .into_iter()
                .filter(|entry| entry.manager.as_deref() == Some(CA_BUNDLE_FIELD_MANAGER));
            let mut owned = Vec::new();
            for entry in ours {
                fields(&entry.fields_v1.unwrap().0, "", &mut owned);
            }
            owned.sort();
            owned.dedup();
            assert_eq!(
                owned,
                [".webhooks.clientConfig.caBundle", ".webhooks.name"],
                "{name}"
            );
        }
        let pod = Lab::serve("after", &[]).request("10m").pod();
        wait_until("pods are injected again", SOON, async || {
            let pod = space.pods().create(&dry_run(), &pod).await.unwrap();
            that(has_agent(&pod), "it has no agent")
        })
        .await;
    });
}

/// A certificate for the webhook that vouches for itself.
struct Provided {
    certificate: String,
    key: String,
}

impl Provided {
    fn new() -> Self {
        let name = format!("{WEBHOOK_SERVICE}.{NAMESPACE}.svc");
        let made = rcgen::generate_simple_self_signed([name]).unwrap();
        Self {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        }
    }

    fn secret(&self) -> Secret {
        serde_json::from_value(json!({
            "metadata": {"name": SECRET}, "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": self.certificate, "tls.key": self.key},
        }))
        .unwrap()
    }
}

const SECRET: &str = "provided-by-the-test";

/// Upgrades the release to mode `provided`, and to trust `trusted`.
fn provide(trusted: &[&Provided]) {
    let file: PathBuf = std::env::temp_dir().join(format!("mbcas-ca-{}", std::process::id()));
    let pem: String = trusted.iter().map(|one| one.certificate.as_str()).collect();
    std::fs::write(&file, pem).unwrap();
    let secret = format!("certificates.secretName={SECRET}");
    let bundle = format!("certificates.caBundle={}", file.display());
    // The webhook owned the field until now.
    Release::upgrade(&[
        "--set",
        "certificates.mode=provided",
        "--set",
        &secret,
        "--set-file",
        &bundle,
        "--force-conflicts",
    ]);
    std::fs::remove_file(file).unwrap();
}

/// The webhook's replicas, without those that are on their way out.
pub(crate) async fn replicas(space: &Space) -> Vec<Pod> {
    let selector = ListParams::default().labels("app.kubernetes.io/component=webhook");
    let pods = space.release.pods().list(&selector).await.unwrap().items;
    pods.into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .collect()
}

/// How many certificates a replica has begun to serve.
pub(crate) async fn served(pod: &Pod) -> Result<f64, String> {
    let page = http::page(&admin_address(pod)?, "/metrics").await?;
    let events = samples(&page, "mbcas_webhook_cert_events_total");
    let served = events.filter(|sample| sample.label("event") == Some("served"));
    Ok(served.map(|sample| sample.value).sum())
}

/// The kubelet brings a changed Secret when it next looks at the pod; it looks at once where the pod changes.
async fn nudge(space: &Space, pod: &Pod) {
    let touched =
        Patch::Merge(json!({"metadata": {"annotations": {"example.org/touched": "now"}}}));
    let pods = space.release.pods();
    pods.patch(&pod.name_any(), &PatchParams::default(), &touched)
        .await
        .unwrap();
}

/// The overlap that docs/install.md asks for: both are trusted while one follows the other.
#[test]
fn a_provided_certificate_is_served_and_so_is_the_one_that_follows_it() {
    on_cluster("provided", Admission::Labelled, async |space| {
        let (first, second) = (Provided::new(), Provided::new());
        let secrets: Api<Secret> = Api::namespaced(space.client.clone(), NAMESPACE);
        // What an interrupted run left.
        let _ = secrets.delete(SECRET, &DeleteParams::default()).await;
        secrets
            .create(&PostParams::default(), &first.secret())
            .await
            .unwrap();
        provide(&[&first, &second]);
        let pod = Lab::serve("stream", &[]).request("10m").pod();
        let injected = async || {
            let pod = space.pods().create(&dry_run(), &pod).await;
            let pod = pod.map_err(|why| why.to_string())?;
            that(has_agent(&pod), "it has no agent")
        };
        wait_until("pods are injected with what was provided", SOON, &injected).await;
        wait_until("the replicas of before are gone", SOON, async || {
            let there = replicas(space).await.len();
            that(there == 2, format!("there are {there}"))
        })
        .await;
        let replicas = replicas(space).await;
        for replica in &replicas {
            assert_eq!(served(replica).await, Ok(1.0), "{}", replica.name_any());
        }

        let renewed = Patch::Merge(second.secret());
        secrets
            .patch(SECRET, &PatchParams::default(), &renewed)
            .await
            .unwrap();
        let begin = Instant::now();
        for replica in &replicas {
            nudge(space, replica).await;
        }
        let mut pods = 0;
        wait_until("both serve the next one", SOON * 3, async || {
            // All the while pods are injected.
            injected().await.expect("a pod was not injected");
            pods += 1;
            for replica in &replicas {
                let served = served(replica).await?;
                that(served > 1.0, format!("{served} so far"))?;
            }
            Ok(())
        })
        .await;
        let took = begin.elapsed();
        figure!(
            "a provided certificate was replaced in {took:.1?}; {pods} pods meanwhile, all injected"
        );
        // It alone is what the API server meets now.
        provide(&[&second]);
        wait_until("the next one is trusted by itself", SOON, &injected).await;
        Release::ensure();
        secrets
            .delete(SECRET, &DeleteParams::default())
            .await
            .unwrap();
        wait_until("the webhook makes its own again", SOON, &injected).await;
    });
}
