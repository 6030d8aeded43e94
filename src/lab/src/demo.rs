//! The demo's referee: measures, and says whether what the demo claims is so.
//!
//! `deploy/demo/run.sh` sets the stage and calls it: `grants` without and with
//! the noisy neighbours, `measure` once while MBCAS only observes and once in `auto`,
//! and `verdict` over all of it.

mod cluster;
mod generator;
mod measure;
mod record;
mod verdict;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use thiserror::Error;

use cluster::{Stage, Where};
use generator::Generator;
use record::{Grants, Run};

/// What a step of the demo needs to know.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    act: Act,
    /// The kubeconfig; without it the usual places.
    #[arg(long, global = true)]
    kubeconfig: Option<PathBuf>,
    /// The context in it.
    #[arg(long, global = true)]
    context: Option<String>,
    #[command(flatten)]
    at: Where,
}

/// The steps.
#[derive(Clone, Debug, Subcommand)]
enum Act {
    /// Waits until the market has seen two cycles, and records what it grants.
    Grants {
        /// Where the record goes.
        #[arg(long)]
        out: PathBuf,
    },
    /// Runs both phases of load and records what came of them.
    Measure {
        /// How far MBCAS goes meanwhile, for the record.
        #[arg(long)]
        mode: String,
        /// The words that run kubectl on this cluster, separated by spaces.
        #[arg(long, env = "MBCAS_DEMO_KUBECTL", default_value = "kubectl")]
        kubectl: String,
        /// Seconds of load before it counts. The market needs a minute to see it, act, and rest for two cycles.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(10..=600))]
        warm_up: u64,
        /// What the market grants, for the rates of the load.
        #[arg(long)]
        grants: PathBuf,
        /// Where the record goes.
        #[arg(long)]
        out: PathBuf,
    },
    /// Prints the table and the verdicts; fails unless all of them hold.
    Verdict {
        /// The grants before the noisy neighbours came.
        #[arg(long)]
        quiet: PathBuf,
        /// The grants beside them.
        #[arg(long)]
        noisy: PathBuf,
        /// The run in which MBCAS only observed.
        #[arg(long)]
        observed: PathBuf,
        /// The run in which it acted.
        #[arg(long)]
        acted: PathBuf,
        /// What the API server answered to a pod with a budget of "lots".
        #[arg(long)]
        refusal: PathBuf,
    },
}

/// Why a step failed.
#[derive(Debug, Error)]
pub enum DemoError {
    /// The kubeconfig is unusable.
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The cluster could not be found from inside.
    #[error("no cluster was found: {0}; give --kubeconfig")]
    NoCluster(#[from] kube::config::InferConfigError),
    /// The cluster did not answer.
    #[error("asking the cluster for {what} failed: {source}")]
    Cluster {
        /// What was asked for.
        what: String,
        /// The cause.
        source: Box<kube::Error>,
    },
    /// What was expected is not there.
    #[error("{0}")]
    Missing(String),
    /// A record could not be read or written.
    #[error("the record {path}: {source}")]
    Record {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A record or a report is not what it should be.
    #[error("{path} is not readable: {source}")]
    Malformed {
        /// The file or the program.
        path: String,
        /// The cause.
        source: serde_json::Error,
    },
    /// The load could not be run.
    #[error("running the load failed: {0}")]
    Load(String),
    /// A statement does not hold.
    #[error("{0} of the demo's statements do not hold")]
    Refuted(usize),
}

/// Carries out one step.
///
/// # Errors
/// [`DemoError`].
pub async fn run(args: Args) -> Result<(), DemoError> {
    if let Act::Verdict {
        quiet,
        noisy,
        observed,
        acted,
        refusal,
    } = &args.act
    {
        let answer = std::fs::read_to_string(refusal).map_err(|e| unreadable(refusal, e))?;
        let grants: (Grants, Grants) = (read(quiet)?, read(noisy)?);
        let runs: (Run, Run) = (read(observed)?, read(acted)?);
        return verdict::print(&grants, &runs, &answer);
    }
    let stage = Stage::new(client(&args).await?, args.at.clone());
    match &args.act {
        Act::Grants { out } => write(out, &measure::grants(&stage).await?),
        Act::Measure {
            mode,
            kubectl,
            warm_up,
            grants,
            out,
        } => {
            let rates = measure::Rates::of(&read::<Grants>(grants)?)?;
            let generator = Generator {
                kubectl: kubectl.clone(),
                namespace: stage.at.load.clone(),
                warm_up: Duration::from_secs(*warm_up),
            };
            write(out, &measure::run(&stage, mode, &generator, &rates).await?)
        }
        Act::Verdict { .. } => Ok(()),
    }
}

async fn client(args: &Args) -> Result<Client, DemoError> {
    let options = KubeConfigOptions {
        context: args.context.clone(),
        ..KubeConfigOptions::default()
    };
    let mut config = match &args.kubeconfig {
        Some(path) => {
            kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?
        }
        None if args.context.is_some() => kube::Config::from_kubeconfig(&options).await?,
        None => kube::Config::infer().await?,
    };
    config.read_timeout = Some(Duration::from_secs(20));
    Client::try_from(config).map_err(|source| cluster::asking("a client", source))
}

fn unreadable(path: &Path, source: std::io::Error) -> DemoError {
    DemoError::Record {
        path: path.to_owned(),
        source,
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, DemoError> {
    let text = std::fs::read(path).map_err(|e| unreadable(path, e))?;
    let malformed = |source| DemoError::Malformed {
        path: path.display().to_string(),
        source,
    };
    serde_json::from_slice(&text).map_err(malformed)
}

fn write<T: serde::Serialize>(path: &Path, record: &T) -> Result<(), DemoError> {
    let malformed = |source| DemoError::Malformed {
        path: path.display().to_string(),
        source,
    };
    let text = serde_json::to_vec_pretty(record).map_err(malformed)?;
    std::fs::write(path, text).map_err(|e| unreadable(path, e))
}
