//! The command line, parsed once: inside, amounts are amounts and times are times.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use mbcas_actuator::ResizePolicy;
use mbcas_core::quantity::Quantity;
use mbcas_core::units::MilliCpu;
use mbcas_webhook::args::AgentArgs;

use crate::output::Format;

/// What the chart of this version sets, unless told otherwise.
pub const AGENT_IMAGE: &str = concat!("mbcas-demand-agent:", env!("CARGO_PKG_VERSION"));

const EXIT_STATUS: &str =
    "Exit status: 0 all is well, 1 it failed or a check did, 2 the command line is wrong.";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "mbcas", version, about, after_help = EXIT_STATUS, propagate_version = true)]
pub struct Cli {
    /// Which cluster, which namespace.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster, which namespace.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub struct Connection {
    /// The kubeconfig file [default: as kubectl, then the pod's own service account]
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig [default: its current one]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The namespace [default: the context's]
    #[arg(long, short, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say whether the cluster can resize pods in place, and whether MBCAS is well
    Check(CheckArgs),
    /// Do to manifests what admission would do to their pods, without a cluster
    Inject(InjectArgs),
    /// Resize one container of a running pod in place, without a restart
    Resize(ResizeArgs),
    /// Print the CPU limits that the market would set, and why
    Recommend(RecommendArgs),
    /// Say what the market decided about a pod lately, and why
    Explain(ExplainArgs),
    /// Decide again what was recorded, and compare bit for bit
    Replay(ReplayArgs),
    /// Give pods the CPU resources back that they had before MBCAS
    Restore(RestoreArgs),
}

/// Which installation of MBCAS.
#[derive(Clone, Debug, Args)]
pub struct Installation {
    /// The namespace that MBCAS is installed in
    #[arg(long, value_name = "NAME", default_value = "mbcas-system")]
    pub controller_namespace: String,
}

/// `mbcas recommend`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_STATUS)]
pub struct RecommendArgs {
    /// The pod [default: every one of the namespace]
    pub pod: Option<String>,
    /// Of all namespaces
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Which MBCAS.
    #[command(flatten)]
    pub installation: Installation,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// `mbcas explain`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_STATUS)]
pub struct ExplainArgs {
    /// The pod
    pub pod: String,
    /// The container [default: every one that took part]
    #[arg(long, short, value_name = "NAME")]
    pub container: Option<String>,
    /// Which MBCAS.
    #[command(flatten)]
    pub installation: Installation,
    /// How to print: a table has the last decision and the ten before, the others have all that are kept
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// `mbcas replay`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_STATUS)]
pub struct ReplayArgs {
    /// The record; - for standard input [default: that of the leader, from the cluster]
    pub file: Option<PathBuf>,
    /// Also keep the leader's record in this file
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub save: Option<PathBuf>,
    /// Which MBCAS.
    #[command(flatten)]
    pub installation: Installation,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// `mbcas resize`.
#[allow(clippy::struct_excessive_bools)] // independent switches of a command line
#[derive(Debug, Args)]
#[command(after_help = EXIT_STATUS)]
#[command(group = clap::ArgGroup::new("amount").required(true).multiple(true).args(["cpu", "memory"]))]
pub struct ResizeArgs {
    /// The pod
    pub pod: String,
    /// The container [default: the pod's default container, or its only one]
    #[arg(long, short, value_name = "NAME")]
    pub container: Option<String>,
    /// The new CPU amount, for example 250m or 1.5
    #[arg(long, value_name = "QUANTITY", value_parser = amount)]
    pub cpu: Option<Quantity>,
    /// The new memory amount, for example 256Mi
    #[arg(long, value_name = "QUANTITY", value_parser = amount)]
    pub memory: Option<Quantity>,
    /// Let memory become less, too: what is in use by then is not taken back
    #[arg(long, requires = "memory")]
    pub allow_memory_decrease: bool,
    /// What changes: limits, requests or both. Of a Guaranteed pod always both
    #[arg(long, value_name = "POLICY", default_value = "limits")]
    pub policy: ResizePolicy,
    /// Show the change and the patch, and ask the API server without changing anything
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    /// Wait until the pod's status says that the kubelet has done it
    #[arg(long)]
    pub wait: bool,
    /// How long --wait waits, for example 60s or 2m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    pub timeout: Duration,
    /// Take the field over from whoever resizes this pod now, MBCAS's controller included
    #[arg(long)]
    pub force: bool,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// `mbcas check`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_STATUS)]
pub struct CheckArgs {
    /// Only what must hold before MBCAS is installed
    #[arg(long)]
    pub pre: bool,
    /// Only whether admission works: send a bad pod and a good one to --namespace, which must be
    /// labelled, through the API server as dry runs
    #[arg(long, conflicts_with = "pre")]
    pub admission: bool,
    /// Beside --admission: also read the metrics of MBCAS's own pods in this namespace, as Prometheus
    /// would, from their own addresses: works from where those can be reached
    #[arg(long, value_name = "NAMESPACE", requires = "admission")]
    pub metrics_of: Option<String>,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// `mbcas inject`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_STATUS)]
pub struct InjectArgs {
    /// The manifests, YAML or JSON; - for standard input. A BudgetPolicy, LimitRange or
    /// ResourceQuota among them is obeyed
    #[arg(long, short, value_name = "FILE")]
    pub filename: PathBuf,
    /// Image of the sidecar
    #[arg(long, env = "MBCAS_AGENT_IMAGE", value_name = "IMAGE", default_value = AGENT_IMAGE)]
    pub agent_image: String,
    /// The sidecar, and what comes with it.
    #[command(flatten)]
    pub agent: AgentArgs,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    pub output: InjectFormat,
}

/// How `mbcas inject` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum InjectFormat {
    /// The manifests with their changes.
    #[default]
    Yaml,
    /// What was decided about each pod, and its JSON patch.
    Json,
}

/// `mbcas restore`.
#[allow(clippy::struct_excessive_bools)] // independent switches of a command line
#[derive(Debug, Args)]
#[command(after_help = EXIT_STATUS)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["pod", "all"]))]
pub struct RestoreArgs {
    /// The pod
    pub pod: Option<String>,
    /// Every pod that MBCAS has admitted: of all namespaces, or of --namespace
    #[arg(long)]
    pub all: bool,
    /// Ask the API server without changing anything
    #[arg(long)]
    pub dry_run: bool,
    /// Exit with 0 although some pods could not be restored, naming them: a single pod, which its
    /// tenant may have made unreadable, must not keep a release from being uninstalled
    #[arg(long, requires = "all")]
    pub tolerate_failures: bool,
    /// Begin with no further pod after this time, for example 2m, and name those that were left
    #[arg(long, value_name = "TIME", value_parser = time, requires = "all")]
    pub within: Option<Duration>,
    /// Stop the controller first, which would undo the restoring
    #[arg(long, requires = "controller_namespace")]
    pub stop_controller: bool,
    /// Only if nobody has led MBCAS for this long, for example 10m, and until somebody does
    #[arg(long, value_name = "TIME", value_parser = time, requires_all = ["all", "controller_namespace"], conflicts_with = "stop_controller")]
    pub unled_for: Option<Duration>,
    /// The namespace that MBCAS is installed in
    #[arg(long, value_name = "NAME")]
    pub controller_namespace: Option<String>,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

impl Cli {
    /// Reads the process's own command line; ends the process with status 2 if it is wrong.
    pub fn from_process() -> Self {
        let words: Vec<OsString> = std::env::args_os().collect();
        Self::try_from_words(&words).unwrap_or_else(|error| error.exit())
    }

    /// Reads a command line, the program's own name first.
    ///
    /// # Errors
    /// What is wrong with it, or the help that was asked for.
    pub fn try_from_words(words: &[OsString]) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        if is_plugin(words.first()) {
            command = command.bin_name("kubectl mbcas");
        }
        let mut matches = command.try_get_matches_from_mut(words)?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
    }
}

/// Whether kubectl runs us: it looks for plugins by the file name `kubectl-mbcas`.
fn is_plugin(program: Option<&OsString>) -> bool {
    let name = program.and_then(|p| std::path::Path::new(p).file_name()?.to_str());
    name.is_some_and(|name| name.starts_with("kubectl-mbcas") || name.starts_with("kubectl_mbcas"))
}

fn amount(text: &str) -> Result<Quantity, String> {
    let quantity = Quantity::parse(text)
        .map_err(|why| format!("it is no quantity: {why}; write 250m, 1.5 or 256Mi"))?;
    if quantity > Quantity::from(MilliCpu::ZERO) {
        Ok(quantity)
    } else {
        Err("it must be above zero: a limit of zero means none, and no limit can be removed".into())
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok();
    let positive = parsed.and_then(|time| Duration::try_from(time).ok());
    positive
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "it must be a time with its unit, such as 60s or 2m".to_owned())
}

#[cfg(test)]
mod tests;
