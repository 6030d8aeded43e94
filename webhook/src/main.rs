//! The webhook's process, see [`mbcas_webhook`].

use anyhow::Context;
use clap::Parser;
use mbcas_webhook::args::Args;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    args.log.init().context("cannot start the log")?;
    mbcas_webhook::run::run(args).await.context("mbcas-webhook")
}
