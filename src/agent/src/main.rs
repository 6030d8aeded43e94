//! `mbcas-demand-agent`: the sidecar that says how badly its pod needs CPU.

use std::sync::Arc;

use mbcas_agent::board::Board;
use mbcas_agent::config::Config;
use mbcas_runtime::shutdown;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;
use tracing::error;

/// How many sockets may be heard of at once: room for more would be memory in every pod.
const EVENTS: usize = 32;

fn main() -> anyhow::Result<()> {
    let mut runtime = Builder::new_current_thread();
    runtime.enable_all().max_io_events_per_tick(EVENTS);
    runtime.build()?.block_on(watch())
}

async fn watch() -> anyhow::Result<()> {
    let config = Config::from_process();
    // A process that cannot hear SIGTERM still serves; the kubelet ends it by force.
    let token = shutdown::on_signals().unwrap_or_else(|why| {
        error!(%why, "going on");
        CancellationToken::new()
    });
    mbcas_agent::run::run(&Arc::new(Board::new(config)?), token).await;
    Ok(())
}
