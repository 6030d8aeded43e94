//! The webhook's server without a cluster: the same routes, limits, TLS and log
//! as in the process, with a certificate that was made on the spot.
//!
//! `server ADDRESS` serves until it is told to end.

#![allow(clippy::unwrap_used)] // a tool of ours, not a part of the webhook
#![allow(missing_docs)]

use std::sync::Arc;
use std::time::SystemTime;

use clap::Parser;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mbcas_certs::schedule::LEAF_LIFETIME;
use mbcas_certs::{Authority, LiveCertificate, server_name};
use mbcas_runtime::log::LogArgs;
use mbcas_runtime::shutdown;
use mbcas_webhook::cache::Cache;
use mbcas_webhook::metrics::Metrics;
use mbcas_webhook::{routes, serve};
use prometheus::Registry;

mod common;

#[derive(Parser)]
struct Args {
    /// Where to listen.
    address: std::net::SocketAddr,
    #[command(flatten)]
    log: LogArgs,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    args.log.init()?;
    let (now, live) = (SystemTime::now(), Arc::new(LiveCertificate::default()));
    let leaf = Authority::generate(now)?.issue(&server_name("mbcas-system"), now, LEAF_LIFETIME)?;
    live.set(leaf.certified());
    let metrics = Metrics::register(&Registry::new())?;
    let judge = common::judge();
    know_pods(&judge.cache);
    let router = routes::router(&judge, metrics.clone());
    let listener = serve::bind(args.address)?;
    let token = shutdown::on_signals()?;
    println!("listening");
    Ok(serve::serve(listener, router, live, metrics, token).await?)
}

/// Tells the cache of 10,000 pods in 100 namespaces, as its watch would.
fn know_pods(cache: &Cache) {
    for number in 0..10_000 {
        let annotations = [
            ("mbcas.budget", "300"),
            ("mbcas.dev/injection", "injected"),
            (
                "mbcas.dev/original",
                r#"{"version":1,"participant":"app","containers":{"app":{"request":"250m","limit":"1"}}}"#,
            ),
        ];
        let meta = ObjectMeta {
            name: Some(format!("web-5d4f8c7b9d-{number:05}")),
            namespace: Some(format!("team-{:02}", number % 100)),
            uid: Some(format!("00000000-0000-0000-0000-{number:012}")),
            annotations: Some(annotations.map(|(k, v)| (k.into(), v.into())).into()),
            ..ObjectMeta::default()
        };
        cache.pod_seen(&meta, 1);
    }
    assert_eq!(cache.pods(), 10_000);
}
