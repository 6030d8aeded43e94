//! `mbcas-demand-agent`: the sidecar that says how badly its pod needs CPU.

use std::sync::Arc;

use mbcas_agent::board::Board;
use mbcas_agent::config::Config;
use mbcas_runtime::shutdown;
use tokio_util::sync::CancellationToken;
use tracing::error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let config = Config::from_process();
    // A process that cannot hear SIGTERM still serves; the kubelet ends it by force.
    let token = shutdown::on_signals().unwrap_or_else(|why| {
        error!(%why, "going on");
        CancellationToken::new()
    });
    mbcas_agent::run::run(&Arc::new(Board::new(config)?), token).await;
    Ok(())
}
