//! The market maker's process.

use clap::Parser;
use mbcas_controller::args::Args;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    args.log.init()?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .install_default()
        .map_err(|_| anyhow::anyhow!("a second crypto provider is linked in"))?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(mbcas_controller::run::run(args))
}
