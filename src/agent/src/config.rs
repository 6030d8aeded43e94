//! Flags and environment, and what is wrong with them.
//!
//! A bad value does not end the process (see the crate's own words): it becomes
//! a fault that the agent reports for as long as it lives. Only `--help` and
//! `--version` end it.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use clap::Parser;
use clap::error::ErrorKind;
use mbcas_core::annotations::AppMetrics;
use mbcas_core::demand::AGENT_PORT;
use mbcas_runtime::log::{Format, LogArgs, LogError};
use thiserror::Error;
use tracing::error;

/// The longest name that Kubernetes gives to anything here.
const NAME_MAX: usize = 253;

/// Watches the accept queues of its pod and says how badly the pod needs CPU.
///
/// Serves /demand (JSON) and /metrics. Never exits by itself: it lives in other people's pods.
#[derive(Parser, Debug)]
#[command(name = "mbcas-demand-agent", version)]
struct Args {
    /// The pod's namespace.
    #[arg(long, env = "MBCAS_NAMESPACE", default_value = "")]
    namespace: String,
    /// The pod's name.
    #[arg(long, env = "MBCAS_POD", default_value = "")]
    pod: String,
    /// The container that takes part in the market.
    #[arg(long, env = "MBCAS_CONTAINER", default_value = "")]
    container: String,
    /// Where the application reports its queue: http://localhost:PORT/PATH#METRIC.
    #[arg(long, env = "MBCAS_APP_METRICS", default_value = "")]
    app_metrics: String,
    /// Address to serve on [default: port 9465 on all addresses].
    #[arg(
        long,
        env = "MBCAS_AGENT_ADDR",
        default_value = "",
        value_name = "IP:PORT"
    )]
    agent_addr: String,
    #[command(flatten)]
    log: LogArgs,
}

/// Whom the agent speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container's name.
    pub container: String,
}

/// What the agent was told, as far as it could be understood.
#[derive(Debug)]
pub struct Config {
    /// Whom it speaks for; absent if any part of it is missing or malformed.
    pub identity: Option<Identity>,
    /// Where the application reports its queue, if it does.
    pub app: Option<AppMetrics>,
    /// Where to serve.
    pub listen: SocketAddr,
    /// Everything that could not be understood.
    pub faults: Vec<ConfigError>,
}

/// One setting that could not be understood.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A name that must be there is not.
    #[error("{0} is missing; MBCAS's webhook sets it, so let it inject the agent")]
    Missing(&'static str),
    /// A name that Kubernetes would not give.
    #[error(
        "{field}={value:?} is no Kubernetes name; MBCAS's webhook sets it, so let it inject the agent"
    )]
    Name {
        /// The environment variable.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// The application's address is malformed.
    #[error("MBCAS_APP_METRICS={value:?} is refused: {rule}; mend the annotation mbcas.metrics")]
    AppMetrics {
        /// The value.
        value: String,
        /// The rule that it breaks.
        rule: String,
    },
    /// The address to serve on is malformed.
    #[error("MBCAS_AGENT_ADDR={0:?} is no address; write for example 0.0.0.0:9465")]
    Listen(String),
    /// The command line cannot be read; everything on it is passed over.
    #[error("the command line is refused, the defaults hold: {0}")]
    CommandLine(String),
    /// Logging cannot be set up as asked for.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl ConfigError {
    /// The setting at fault, as a metric's label: one of a closed set.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Missing(field) | Self::Name { field, .. } => field,
            Self::AppMetrics { .. } => "MBCAS_APP_METRICS",
            Self::Listen(_) => "MBCAS_AGENT_ADDR",
            Self::CommandLine(_) => "command_line",
            Self::Log(_) => "MBCAS_LOG",
        }
    }
}

impl Config {
    /// Reads the flags and the environment of this process, sets up its log
    /// and logs every fault. Ends the process for `--help` and `--version` only.
    pub fn from_process() -> Self {
        let (args, refused) = match Args::try_parse() {
            Err(answer) if is_answer(&answer) => answer.exit(),
            parsed => or_defaults(parsed),
        };
        let log = start_log(&args.log);
        let mut config = Self::resolve(args);
        config.faults.extend(refused);
        config.faults.extend(log);
        for fault in &config.faults {
            error!(field = fault.field(), "{fault}");
        }
        config
    }

    /// Reads a command line; what is wrong with it is in [`Config::faults`].
    /// The environment fills in what the command line leaves out.
    pub fn from_args(line: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Self {
        let (args, refused) = or_defaults(Args::try_parse_from(line));
        let mut config = Self::resolve(args);
        config.faults.extend(refused);
        config
    }

    fn resolve(args: Args) -> Self {
        let mut faults = Vec::new();
        let mut name = |field, value: String| match checked(field, value) {
            Ok(value) => Some(value),
            Err(fault) => {
                faults.push(fault);
                None
            }
        };
        let namespace = name("MBCAS_NAMESPACE", args.namespace);
        let pod = name("MBCAS_POD", args.pod);
        let container = name("MBCAS_CONTAINER", args.container);
        let identity = match (namespace, pod, container) {
            (Some(namespace), Some(pod), Some(container)) => Some(Identity {
                namespace,
                pod,
                container,
            }),
            _ => None,
        };
        let mut app = None;
        if !args.app_metrics.is_empty() {
            match args.app_metrics.parse() {
                Ok(source) => app = Some(source),
                Err(rule) => faults.push(ConfigError::AppMetrics {
                    value: args.app_metrics,
                    rule,
                }),
            }
        }
        let mut listen = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), AGENT_PORT);
        if !args.agent_addr.is_empty() {
            match args.agent_addr.parse() {
                Ok(address) => listen = address,
                Err(_) => faults.push(ConfigError::Listen(args.agent_addr)),
            }
        }
        Self {
            identity,
            app,
            listen,
            faults,
        }
    }
}

fn is_answer(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    )
}

/// What the process was started with, or, where clap refuses it, its environment alone.
fn or_defaults(parsed: Result<Args, clap::Error>) -> (Args, Option<ConfigError>) {
    let refused = match parsed {
        Ok(args) => return (args, None),
        Err(refused) => ConfigError::CommandLine(refused.to_string().trim().to_owned()),
    };
    let text = |field| std::env::var(field).unwrap_or_default();
    let args = Args {
        namespace: text("MBCAS_NAMESPACE"),
        pod: text("MBCAS_POD"),
        container: text("MBCAS_CONTAINER"),
        app_metrics: text("MBCAS_APP_METRICS"),
        agent_addr: text("MBCAS_AGENT_ADDR"),
        log: LogArgs {
            log_level: "info".to_owned(),
            log_format: Format::Plain,
        },
    };
    (args, Some(refused))
}

fn start_log(asked: &LogArgs) -> Option<ConfigError> {
    let refused = asked.init().err()?;
    let plain = LogArgs {
        log_level: "info".to_owned(),
        log_format: asked.log_format,
    };
    // A second refusal means that there is no log to tell it to; the first one is on /metrics.
    let _ = plain.init();
    Some(refused.into())
}

fn checked(field: &'static str, value: String) -> Result<String, ConfigError> {
    if value.is_empty() {
        return Err(ConfigError::Missing(field));
    }
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    if value.len() > NAME_MAX || !value.bytes().all(known) {
        let value = value.chars().take(NAME_MAX).collect();
        return Err(ConfigError::Name { field, value });
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
