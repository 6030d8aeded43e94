//! The operator's tool: `mbcas resize`, `mbcas check`, `mbcas restore`.
//!
//! ```text
//!   words ──args──▶ Cli ──▶ resize | check | restore ──▶ Report ──▶ stdout, exit status
//!                               │ what to do: pure          progress ──▶ stderr
//!                               └ doing it: mbcas-actuator
//! ```
//!
//! A command decides purely and acts plainly: what it would do is data that
//! tests can look at, and only `run` in each module talks to a cluster.

pub mod args;
pub mod check;
pub mod connect;
#[cfg(test)]
mod fixtures;
pub mod output;
pub mod resize;
pub mod restore;

use thiserror::Error;

use args::{Cli, Command};
use output::Report;

/// Why a command ended without a result.
#[derive(Debug, Error)]
#[allow(missing_docs)] // each variant's own message says it
pub enum CliError {
    #[error(transparent)]
    Connect(#[from] connect::ConnectError),
    #[error(transparent)]
    Resize(#[from] resize::ResizeError),
    #[error(transparent)]
    Restore(#[from] restore::RestoreError),
    #[error(transparent)]
    Output(#[from] output::OutputError),
    #[error("starting the runtime failed: {0}")]
    Runtime(std::io::Error),
}

/// Carries out one command on a runtime of its own.
///
/// # Errors
/// [`CliError`] where there is nothing to report but the failure.
pub fn run_blocking(cli: Cli) -> Result<Report, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    runtime.block_on(run(cli))
}

/// Carries out one command.
///
/// # Errors
/// [`CliError`] where there is nothing to report but the failure.
pub async fn run(cli: Cli) -> Result<Report, CliError> {
    let cluster = connect::connect(&cli.connection).await?;
    match cli.command {
        Command::Resize(args) => Ok(resize::run(&cluster, &args).await?),
        Command::Check(args) => Ok(check::run(&cluster, &args).await?),
        Command::Restore(args) => Ok(restore::run(&cluster, &args).await?),
    }
}
