//! The operator's tool: `mbcas check`, `mbcas inject`, `mbcas recommend`, `mbcas explain`,
//! `mbcas replay`, `mbcas resize`, `mbcas restore`.
//!
//! ```text
//!   words ──args──▶ Cli ──▶ check | inject | … | restore ──▶ Report ──▶ stdout, exit status
//!                               │ what to do: pure                   progress ──▶ stderr
//!                               └ doing it: mbcas-actuator
//! ```
//!
//! A command decides purely and acts plainly: what it would do is data that
//! tests can look at, and only `run` in each module talks to a cluster.

pub mod args;
pub mod check;
pub mod connect;
pub mod explain;
#[cfg(test)]
mod fixtures;
pub mod inject;
pub mod input;
pub mod leader;
pub mod output;
pub mod recommend;
pub mod replay;
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
    Explain(#[from] explain::ExplainError),
    #[error(transparent)]
    Inject(#[from] inject::InjectError),
    #[error(transparent)]
    Recommend(#[from] recommend::RecommendError),
    #[error(transparent)]
    Replay(#[from] replay::ReplayError),
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
    let connection = &cli.connection;
    match cli.command {
        Command::Check(args) => Ok(check::run(&connect::connect(connection).await?, &args).await?),
        Command::Inject(args) => Ok(inject::run(&args, connection.namespace.as_deref())?),
        Command::Recommend(args) => {
            Ok(recommend::run(&connect::connect(connection).await?, &args).await?)
        }
        Command::Explain(args) => {
            Ok(explain::run(&connect::connect(connection).await?, &args).await?)
        }
        Command::Replay(args) => Ok(replay::run(connection, &args).await?),
        Command::Resize(args) => {
            Ok(resize::run(&connect::connect(connection).await?, &args).await?)
        }
        Command::Restore(args) => {
            Ok(restore::run(&connect::connect(connection).await?, &args).await?)
        }
    }
}
