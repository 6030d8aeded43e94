//! Flags and environment, and what is wrong with them.
//!
//! A bad value does not end the process (see the crate's own words): it becomes
//! a fault that the agent reports for as long as it lives. Only `--help` and
//! `--version` end it.

use std::io::{Write as _, stdout};
use std::net::{AddrParseError, IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use mbcas_core::annotations::{AppMetrics, Slo};
use mbcas_core::demand::AGENT_PORT;
use mbcas_runtime::log::{self, Format, LogError};
use thiserror::Error;
use tracing::{Level, error};
use tracing_subscriber::filter::Targets;

use crate::args::{Args, Asked, environment};

/// The longest name that Kubernetes gives to anything here.
const NAME_MAX: usize = 253;

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
    /// Where the application reports on itself, if it does.
    pub app: Option<AppMetrics>,
    /// The objective that its latency is measured by.
    pub slo: Option<Slo>,
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
    /// The objective is malformed.
    #[error("MBCAS_APP_SLO={value:?} is refused: {rule}; mend the annotation mbcas.slo")]
    AppSlo {
        /// The value.
        value: String,
        /// The rule that it breaks.
        rule: String,
    },
    /// A latency without an objective.
    #[error(
        "MBCAS_APP_SLO is missing, without which a latency says nothing; set the annotation mbcas.slo"
    )]
    NoSlo,
    /// The address to serve on is malformed.
    #[error("MBCAS_AGENT_ADDR={0:?} is no address; write for example 0.0.0.0:9465")]
    Listen(String),
    /// The command line cannot be read; everything on it is passed over.
    #[error("the command line is refused, the defaults hold: {0}")]
    CommandLine(String),
    /// The form of the log is none.
    #[error("MBCAS_LOG_FORMAT={0:?} is refused, and plain is taken; write plain or json")]
    LogFormat(String),
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
            Self::AppSlo { .. } | Self::NoSlo => "MBCAS_APP_SLO",
            Self::Listen(_) => "MBCAS_AGENT_ADDR",
            Self::CommandLine(_) => "command_line",
            Self::LogFormat(_) => "MBCAS_LOG_FORMAT",
            Self::Log(_) => "MBCAS_LOG",
        }
    }
}

impl Config {
    /// Reads the flags and the environment of this process, sets up its log
    /// and logs every fault. Ends the process for `--help` and `--version` only.
    pub fn from_process() -> Self {
        let line = std::env::args_os().skip(1);
        // What is not text is no flag either, and is refused as one.
        let line = line.map(|word| word.to_string_lossy().into_owned());
        let asked = Args::read(line, environment);
        if let Ok(Asked::Answer(text)) = asked {
            // Nobody may be there to read it.
            let _ = stdout().write_all(text.as_bytes());
            std::process::exit(0)
        }
        let (mut config, log) = Self::resolve(asked);
        config
            .faults
            .extend(log.start().err().map(ConfigError::from));
        for fault in &config.faults {
            error!(field = fault.field(), "{fault}");
        }
        config
    }

    /// Reads a command line without setting up a log; what is wrong with it is in
    /// [`Config::faults`]. The environment fills in what the command line leaves out.
    pub fn from_args<'a>(line: impl IntoIterator<Item = &'a str>) -> Self {
        let line = line.into_iter().skip(1).map(str::to_owned);
        Self::resolve(Args::read(line, environment)).0
    }

    fn resolve(asked: Result<Asked, String>) -> (Self, Log) {
        let (args, refused) = match asked {
            Ok(Asked::Run(args)) => (args, None),
            Ok(Asked::Answer(words)) | Err(words) => (Args::of(environment), Some(words)),
        };
        let mut faults: Vec<_> = refused.into_iter().map(ConfigError::CommandLine).collect();
        let [
            namespace,
            pod,
            container,
            app_metrics,
            app_slo,
            address,
            level,
            format,
        ] = args.values();
        let mut name = |field, value: String| {
            let checked = checked(field, value);
            checked.map_err(|fault| faults.push(fault)).ok()
        };
        let namespace = name("MBCAS_NAMESPACE", namespace);
        let pod = name("MBCAS_POD", pod);
        let container = name("MBCAS_CONTAINER", container);
        let identity = match (namespace, pod, container) {
            (Some(namespace), Some(pod), Some(container)) => Some(Identity {
                namespace,
                pod,
                container,
            }),
            _ => None,
        };
        let app: Option<AppMetrics> = parsed(app_metrics, &mut faults, |value, rule| {
            ConfigError::AppMetrics { value, rule }
        });
        let without_slo = app_slo.is_empty();
        let slo = parsed(app_slo, &mut faults, |value, rule| ConfigError::AppSlo {
            value,
            rule,
        });
        if without_slo && app.as_ref().is_some_and(|app| app.latency.is_some()) {
            faults.push(ConfigError::NoSlo);
        }
        let everywhere = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), AGENT_PORT);
        let listen = parsed(address, &mut faults, |value, _: AddrParseError| {
            ConfigError::Listen(value)
        });
        let log = Log {
            filter: Some(level)
                .filter(|level| !level.is_empty())
                .and_then(|level| {
                    let filter = log::filter(&level).map_err(|why| faults.push(why.into()));
                    filter.ok()
                }),
            json: match &*format {
                "" | "plain" => false,
                "json" => true,
                _ => {
                    faults.push(ConfigError::LogFormat(format));
                    false
                }
            },
        };
        let config = Self {
            identity,
            app,
            slo,
            listen: listen.unwrap_or(everywhere),
            faults,
        };
        (config, log)
    }
}

/// What `value` says, if it says anything; what is wrong with it becomes a fault.
fn parsed<T: FromStr>(
    value: String,
    faults: &mut Vec<ConfigError>,
    fault: impl FnOnce(String, T::Err) -> ConfigError,
) -> Option<T> {
    if value.is_empty() {
        return None;
    }
    match value.parse() {
        Ok(parsed) => Some(parsed),
        Err(why) => {
            faults.push(fault(value, why));
            None
        }
    }
}

/// How much is logged, and in which form.
#[derive(Debug)]
struct Log {
    filter: Option<Targets>,
    json: bool,
}

impl Log {
    fn start(self) -> Result<(), LogError> {
        let usual = || Targets::new().with_default(Level::INFO);
        let filter = self.filter.unwrap_or_else(usual);
        let format = if self.json {
            Format::Json
        } else {
            Format::Plain
        };
        log::start_flat(filter, format)
    }
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
