//! `mbcas-lab`: demo server, noisy neighbour, load.

use clap::{Parser, Subcommand};
use mbcas_lab::{burn, demo, load, serve, simulate};
use mbcas_runtime::log::LogArgs;
use mbcas_runtime::shutdown;

/// Serves, burns and loads: the workloads that MBCAS is shown on.
#[derive(Parser)]
#[command(name = "mbcas-lab", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Args),
    Burn(burn::Args),
    Load(load::Args),
    Simulate(simulate::Args),
    /// The demo's referee: measures, and checks what the demo claims.
    Demo(demo::Args),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    cli.log.init()?;
    let token = shutdown::on_signals()?;
    match cli.command {
        Command::Serve(args) => serve::run(args, token).await?,
        Command::Burn(args) => {
            burn::run(args, token).await?;
        }
        Command::Load(args) => load::run_and_print(args, token).await?,
        Command::Simulate(args) => simulate::run(&args)?,
        Command::Demo(args) => {
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            provider
                .install_default()
                .map_err(|_| anyhow::anyhow!("a second crypto provider is linked in"))?;
            demo::run(args).await?;
        }
    }
    Ok(())
}
