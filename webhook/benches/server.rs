//! The webhook's server without a cluster: the same routes, limits, TLS and log
//! as in the process, with a certificate that was made on the spot.
//!
//! `server ADDRESS` serves until it is told to end.

#![allow(clippy::unwrap_used)] // a tool of ours, not a part of the webhook
#![allow(missing_docs)]

use std::sync::Arc;
use std::time::SystemTime;

use clap::Parser;
use mbcas_certs::{Authority, LiveCertificate, server_name};
use mbcas_runtime::log::LogArgs;
use mbcas_runtime::shutdown;
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
    let leaf = Authority::generate(now)?.issue(&server_name("mbcas-system"), now)?;
    live.set(leaf.certified());
    let metrics = Metrics::register(&Registry::new())?;
    let router = routes::router(common::policy(), metrics.clone());
    let listener = serve::bind(args.address)?;
    let token = shutdown::on_signals()?;
    println!("listening");
    Ok(serve::serve(listener, router, live, metrics, token).await?)
}
