//! Certificates by cert-manager: its own controllers sign and renew, its own cainjector says whom to trust.
//!
//! They run on this machine, as tests/cert-manager wires them, with the rights
//! of the kubeconfig; what they do to the cluster is what they do in one.

use std::net::TcpStream;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use mbcas_api::names::{WEBHOOK_PORT, WEBHOOK_SERVICE};
use mbcas_certs::Bundle;
use mbcas_core::exposition::samples;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::{Value, json};

use crate::certificates::{bundles, replicas, served, take_all_away};
use crate::support::cert_manager::CertManager;
use crate::support::diagnose::diagnose;
use crate::support::release::{NAMESPACE, admin_address};
use crate::support::space::{dry_run, has_agent, ip};
use crate::support::wait::that;
use crate::support::{Admission, Lab, Release, SOON, Space, Stream, http, on_cluster, wait_until};

/// The webhook's Certificate, and the Secret that holds what was signed for it.
const WEBHOOK: [&str; 2] = ["mbcas-webhook", "mbcas-webhook-tls"];
/// The same of the release's own authority.
const AUTHORITY: [&str; 2] = ["mbcas-webhook-authority"; 2];

/// Time for a kubelet to bring a changed Secret into a pod, with a reserve.
const KUBELET: Duration = Duration::from_mins(3);

fn secrets(client: &Client) -> Api<Secret> {
    Api::namespaced(client.clone(), NAMESPACE)
}

fn certificates(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("cert-manager.io", "v1", "Certificate");
    let resource = ApiResource::from_gvk_with_plural(&kind, "certificates");
    Api::namespaced_with(client.clone(), NAMESPACE, &resource)
}

/// What a Secret holds under `key`.
async fn held(client: &Client, secret: &str, key: &str) -> Result<String, String> {
    let found = secrets(client).get_opt(secret).await.unwrap();
    let mut found = found.ok_or_else(|| format!("{secret} is gone"))?.data;
    let held = found.as_mut().and_then(|data| data.remove(key));
    let held = held.ok_or_else(|| format!("{secret} has no {key}"))?;
    Ok(String::from_utf8(held.0).unwrap())
}

/// Asks for another certificate, as `cmctl renew` does, and waits until it is there.
async fn renew(client: &Client, [certificate, secret]: [&str; 2]) {
    let before = held(client, secret, "tls.crt").await.unwrap();
    let issuing = json!({"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "by the test"});
    let asked = json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "status": {"conditions": [issuing]},
    });
    let apply = PatchParams::apply("mbcas-test").force();
    certificates(client)
        .patch_status(certificate, &apply, &Patch::Apply(asked))
        .await
        .unwrap();
    is_another(client, secret, &before).await;
}

async fn is_another(client: &Client, secret: &str, before: &str) {
    wait_until("another certificate is there", SOON, async || {
        let now = held(client, secret, "tls.crt").await?;
        that(now != before, format!("{secret} holds the same"))
    })
    .await;
}

/// Whom the API server trusts, by entry.
async fn trusted(client: &Client) -> Vec<Bundle> {
    let bundles = bundles(client).await;
    let read = |bundle: &Value| {
        let bundle = serde_json::from_value(bundle.clone());
        let pem = bundle.map(|ByteString(bundle)| String::from_utf8(bundle).unwrap());
        Bundle::read(&pem.unwrap_or_default())
    };
    bundles.iter().map(read).collect()
}

/// Waits until every entry of both configurations trusts the authority that the webhook's Secret
/// names. cainjector adds it to those that are trusted already.
async fn all_trust(client: &Client) {
    wait_until("cainjector fills in every caBundle", SOON, async || {
        let authority = held(client, WEBHOOK[1], "ca.crt").await?;
        let (authority, bundles) = (Bundle::read(&authority), trusted(client).await);
        let all = bundles.iter().all(|bundle| bundle.contains(&authority));
        that(bundles.len() == 3 && all, format!("{bundles:?}"))
    })
    .await;
}

/// Opens a connection, as an API server would that trusts `authority` and nobody else.
fn is_trusted(replica: &Pod, authority: &str) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for one in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(one.unwrap()).unwrap();
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = Arc::new(config.with_no_client_auth());
    let name = ServerName::try_from(format!("{WEBHOOK_SERVICE}.{NAMESPACE}.svc")).unwrap();
    let mut tls = ClientConnection::new(config, name).unwrap();
    let shaken = TcpStream::connect((ip(replica), WEBHOOK_PORT))
        .and_then(|mut stream| tls.complete_io(&mut stream));
    let failed = |why| format!("{}: {why}", replica.name_any());
    shaken.map(drop).map_err(failed)
}

/// Whether every replica serves what cert-manager signed last.
async fn all_serve(space: &Space) -> Result<(), String> {
    let certificate = certificates(&space.client).get(WEBHOOK[0]).await.unwrap();
    let ends = certificate.data["status"]["notAfter"].as_str();
    let ends: Timestamp = ends.ok_or("nothing is signed")?.parse().unwrap();
    let authority = held(&space.client, WEBHOOK[1], "ca.crt").await?;
    let replicas = replicas(space).await;
    that(replicas.len() == 2, format!("there are {}", replicas.len()))?;
    for replica in replicas {
        let page = http::page(&admin_address(&replica)?, "/metrics").await?;
        let mut leaf = samples(&page, "mbcas_webhook_cert_not_after_seconds");
        let leaf = leaf.find(|sample| sample.label("kind") == Some("leaf"));
        #[allow(clippy::cast_possible_truncation)] // whole seconds
        let until = leaf.ok_or("it serves nothing")?.value as i64;
        let (name, signed) = (replica.name_any(), ends.as_second());
        that(until == signed, format!("{name}: {until}, not {signed}"))?;
        is_trusted(&replica, &authority)?;
    }
    Ok(())
}

/// What admission is for goes on: pods are injected, and malformed budgets refused by the webhook itself.
async fn admission_works(space: &Space, pod: &str) {
    let pod = space.start(&Lab::serve(pod, &[]).request("10m")).await;
    assert!(has_agent(&pod));
    let bad = Lab::serve("bad", &[]).annotate("mbcas.budget", "lots");
    let refused = space.pods().create(&dry_run(), &bad.pod()).await;
    let said = refused.unwrap_err().to_string();
    assert!(
        said.contains("admission webhook \"inject.mbcas.dev\" denied the request"),
        "{said}"
    );
    // The other configuration's.
    let url = format!("/apis/apps/v1/namespaces/{}/deployments", space.name);
    let mut deployment = json!(bad.deployment());
    deployment["apiVersion"] = json!("apps/v1");
    deployment["kind"] = json!("Deployment");
    let warnings = space.warnings(&url, &deployment).await.unwrap();
    assert!(
        warnings.iter().any(|text| text.contains("mbcas.budget")),
        "{warnings:?}"
    );
}

/// Upgrades the release by `change` under a stream of pods, and says what became of those.
async fn under_way(space: &Space, what: &str, change: fn()) {
    let begin = Instant::now();
    let helm = tokio::task::spawn_blocking(change);
    let (stream, done) = Stream::during(space, helm).await;
    let took = begin.elapsed();
    done.unwrap();
    figure!("{what}: {took:.1?}; {}", stream.is_whole(what));
}

async fn signs_and_renews(space: &Space) {
    let client = &space.client;
    under_way(space, "from auto to cert-manager", || {
        Release::upgrade(&["--set", "certificates.mode=cert-manager"]);
    })
    .await;
    all_trust(client).await;
    wait_until("both serve it", SOON, async || all_serve(space).await).await;
    admission_works(space, "before").await;

    let key = held(client, AUTHORITY[1], "tls.key").await;
    let renewed = async {
        renew(client, AUTHORITY).await;
        assert_eq!(held(client, AUTHORITY[1], "tls.key").await, key);
        // Its key is the same, so whoever trusts the new one alone trusts what the old one signed.
        let authority = held(client, AUTHORITY[1], "tls.crt").await.unwrap();
        for replica in replicas(space).await {
            is_trusted(&replica, &authority).unwrap();
        }
        renew(client, WEBHOOK).await;
        all_trust(client).await;
        let before = held(client, WEBHOOK[1], "tls.crt").await.unwrap();
        secrets(client)
            .delete(WEBHOOK[1], &DeleteParams::default())
            .await
            .unwrap();
        is_another(client, WEBHOOK[1], &before).await;
        let begin = Instant::now();
        wait_until("both serve it", KUBELET, async || all_serve(space).await).await;
        begin.elapsed()
    };
    let (stream, took) = Stream::during(space, Box::pin(renewed)).await;
    let seen = stream.is_whole("renewal by cert-manager");
    figure!("renewed by cert-manager, and served {took:.1?} later: {seen}");
    for replica in replicas(space).await {
        assert!(served(&replica).await.unwrap() > 1.0);
    }
    admission_works(space, "after").await;
}

#[test]
fn cert_manager_signs_and_renews_while_pods_are_injected() {
    on_cluster("certmanager", Admission::Labelled, async |space| {
        let own = trusted(&space.client).await;
        let cert_manager = CertManager::start(&space.client).await;
        let body = AssertUnwindSafe(Box::pin(signs_and_renews(space)));
        let outcome = body.catch_unwind().await;
        if outcome.is_err() {
            cert_manager.tell();
            diagnose(&space.client, &space.name).await;
        }
        // Before the kinds go: helm takes away what there is of them.
        under_way(space, "from cert-manager to auto", Release::ensure).await;
        cert_manager.leave(&space.client).await;
        for [_, secret] in [WEBHOOK, AUTHORITY] {
            // cert-manager leaves them behind; where it came to none, that is as good.
            let gone = DeleteParams::default();
            let _ = secrets(&space.client).delete(secret, &gone).await;
        }
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        // What cert-manager signed is served on until the roll-out is over, so both are trusted.
        let both = trusted(&space.client).await;
        let contains = |(both, own): (&Bundle, &Bundle)| both.contains(own) && both != own;
        assert!(both.iter().zip(&own).all(contains), "{both:?}");
        take_all_away(&space.client).await;
        wait_until("the webhook's own alone is trusted", SOON, async || {
            let now = trusted(&space.client).await;
            that(now == own, format!("{now:?}"))
        })
        .await;
        admission_works(space, "probe").await;
    });
}
