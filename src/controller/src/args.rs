//! What the controller is told at its start.

use std::num::ParseIntError;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use http::Uri;
use mbcas_core::annotations::Mode;
use mbcas_core::quantity::Quantity;
use mbcas_core::units::MilliCpu;
use mbcas_market::error::PolicyError;
use mbcas_market::policy::Settings;
use mbcas_market::weight::WeightCurve;
use mbcas_market::{Policy, Rule};
use mbcas_runtime::admin::AdminArgs;
use mbcas_runtime::log::LogArgs;

use crate::actuate::{WRITE_BURST, WRITES_PER_SECOND};
use crate::canary::Canary;
use crate::demand::Source;
use crate::kubelet::KubeletTls;
use crate::monitoring::{Address, Monitoring, MonitoringError, QUERY};

/// The market maker: clears each node's CPU market and resizes pods in place.
#[derive(Clone, Debug, Parser)]
#[command(name = "mbcas-controller", version)]
pub struct Args {
    /// How far it goes: observe (measure only), recommend (publish, write nothing) or auto (resize).
    /// A pod's own `mbcas.mode` can only make it more careful.
    #[arg(long, env = "MBCAS_MODE", default_value = "auto")]
    pub mode: Mode,

    /// How many of a hundred workloads are resized, the others being recommended to, from 0 to 100.
    /// The same ones every time, so that a larger number only adds to them.
    #[arg(long, env = "MBCAS_CANARY_PERCENT", default_value = "100")]
    pub canary_percent: Canary,

    /// Write what MBCAS would do onto pods that it only recommends to (mbcas.dev/recommendation).
    #[arg(long, env = "MBCAS_POD_RECOMMENDATIONS", default_value = "false", action = clap::ArgAction::Set)]
    pub pod_recommendations: bool,

    /// The most CPU that a container is given where neither its pod nor its namespace's BudgetPolicy says.
    #[arg(long, env = "MBCAS_DEFAULT_MAX_CPU", default_value = "64", value_parser = cpu)]
    pub default_max_cpu: MilliCpu,

    /// Seconds between two cycles, from 5 to 300.
    #[arg(long, env = "MBCAS_INTERVAL", default_value = "15", value_parser = interval)]
    pub interval: Duration,

    /// CPU that is kept out of every node's market, a quantity such as 100m.
    #[arg(long, env = "MBCAS_RESERVE", default_value = "0", value_parser = cpu)]
    pub reserve: MilliCpu,

    /// How grants become limits: least-restrictive (limits only where the kernel's weights would not
    /// keep the grants) or proportional (limits equal grants).
    #[arg(long, env = "MBCAS_POLICY", default_value = "least-restrictive")]
    pub policy: Rule,

    /// How the nodes' kernels weigh CPU requests: shares (cgroup v1), linear (cgroup v2 below
    /// runc 1.3.2 and crun 1.23), quadratic (from these on), or unknown: decisions hold for all three.
    #[arg(long, env = "MBCAS_WEIGHTS", default_value = "unknown", value_parser = weights)]
    pub weights: Weights,

    /// Seconds for which a container keeps its cap after its start, from 0 to 3600.
    #[arg(long, env = "MBCAS_STARTUP_GRACE", default_value = "30", value_parser = startup_grace)]
    pub startup_grace: Duration,

    /// Pod changes per second over the whole cluster, from 1 to 200.
    #[arg(long, env = "MBCAS_WRITES_PER_SECOND", default_value_t = WRITES_PER_SECOND, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub writes_per_second: u32,

    /// Pod changes at once after a calm, from 1 to 1000.
    #[arg(long, env = "MBCAS_WRITE_BURST", default_value_t = WRITE_BURST, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub write_burst: u32,

    /// How kubelets' certificates are checked.
    #[arg(long, env = "MBCAS_KUBELET_TLS", value_enum, default_value = "verify")]
    pub kubelet_tls: KubeletCheck,

    /// The authorities of kubelets' certificates, in PEM; with --kubelet-tls caBundle.
    #[arg(
        long,
        env = "MBCAS_KUBELET_CA",
        value_name = "FILE",
        required_if_eq("kubelet_tls", "caBundle")
    )]
    pub kubelet_ca: Option<PathBuf>,

    #[command(flatten)]
    /// Where Prometheus is, if demand comes from there.
    pub prometheus: PrometheusArgs,

    /// Publish a series per container; switch it off on large clusters.
    #[arg(long, env = "MBCAS_POD_METRICS", default_value = "true", action = clap::ArgAction::Set)]
    pub pod_metrics: bool,

    /// The namespace of the Lease and of the switch.
    #[arg(long, env = "MBCAS_NAMESPACE", default_value = "mbcas-system")]
    pub namespace: String,

    /// The name under which it stands for election; its pod's name.
    #[arg(long, env = "MBCAS_POD", default_value = "mbcas-controller")]
    pub pod: String,

    #[command(flatten)]
    /// Where it serves metrics and probes.
    pub admin: AdminArgs,

    #[command(flatten)]
    /// How it logs.
    pub log: LogArgs,
}

impl Args {
    /// The rule and its constants.
    ///
    /// # Errors
    /// None that is known: only the rule can be chosen.
    pub fn policy(&self) -> Result<Policy, PolicyError> {
        Policy::new(Settings {
            rule: self.policy,
            ..Settings::default()
        })
    }

    /// How kubelets' certificates are checked, and against what.
    pub fn kubelet_tls(&self) -> KubeletTls {
        match self.kubelet_tls {
            KubeletCheck::Verify => KubeletTls::Verify,
            // Without one it does not parse.
            KubeletCheck::CaBundle => {
                KubeletTls::CaBundle(self.kubelet_ca.clone().unwrap_or_default())
            }
            KubeletCheck::Insecure => KubeletTls::Insecure,
        }
    }
}

/// Demand from Prometheus instead of from the agents themselves.
#[derive(Clone, Debug, clap::Args)]
pub struct PrometheusArgs {
    /// Read demand from Prometheus at this URL and not from the agents, such as
    /// `http://prometheus.monitoring:9090`. Jumps between two cycles are not heard of then.
    #[arg(
        long = "prometheus-url",
        env = "MBCAS_PROMETHEUS_URL",
        value_name = "URL",
        value_parser = url
    )]
    pub url: Option<Uri>,

    /// The authorities that its certificate is checked against, in PEM; with https. The image has none of its own.
    #[arg(
        long = "prometheus-ca",
        env = "MBCAS_PROMETHEUS_CA",
        value_name = "FILE",
        requires = "url"
    )]
    pub ca: Option<PathBuf>,

    /// A file with the bearer token that it asks for.
    #[arg(
        long = "prometheus-token",
        env = "MBCAS_PROMETHEUS_TOKEN",
        value_name = "FILE",
        requires = "url"
    )]
    pub token: Option<PathBuf>,

    /// What it is asked: a vector with the labels namespace, pod and exported_container (or container)
    /// of intensities from 0 to 1.
    #[arg(
        long = "prometheus-query",
        env = "MBCAS_PROMETHEUS_QUERY",
        value_name = "PROMQL",
        default_value = QUERY
    )]
    pub query: String,
}

impl PrometheusArgs {
    /// Where demand comes from.
    ///
    /// # Errors
    /// [`MonitoringError`] if a file that is named cannot be read.
    pub fn source(&self) -> Result<Source, MonitoringError> {
        let Some(url) = self.url.clone() else {
            return Ok(Source::Agents);
        };
        let monitoring = Monitoring::new(&Address {
            url,
            authorities: self.ca.clone(),
            token: self.token.clone(),
            query: self.query.clone(),
        })?;
        Ok(Source::Prometheus(monitoring))
    }
}

fn url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|e| format!("{e}"))?;
    match url.scheme_str() {
        Some("http" | "https") if url.host().is_some() && url.query().is_none() => Ok(url),
        _ => Err("give a URL such as http://prometheus.monitoring:9090".to_owned()),
    }
}

/// How kubelets' certificates are checked, in a word ([`KubeletTls`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KubeletCheck {
    /// Against the cluster's own authority.
    Verify,
    /// Against the authorities in --kubelet-ca.
    #[value(name = "caBundle")]
    CaBundle,
    /// Not at all.
    Insecure,
}

/// A curve, if it is known.
pub type Weights = Option<WeightCurve>;

fn weights(text: &str) -> Result<Weights, String> {
    if text == "unknown" {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|why: String| format!("{why}, or unknown"))
}

fn startup_grace(text: &str) -> Result<Duration, String> {
    seconds(text, "30", 0..=3600)
}

fn interval(text: &str) -> Result<Duration, String> {
    seconds(text, "15", 5..=300)
}

fn seconds(text: &str, such_as: &str, range: RangeInclusive<u64>) -> Result<Duration, String> {
    let seconds: u64 = text
        .parse()
        .map_err(|e: ParseIntError| format!("{e}: give whole seconds, such as {such_as}"))?;
    if range.contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err(format!(
            "it must be from {} to {}",
            range.start(),
            range.end()
        ))
    }
}

fn cpu(text: &str) -> Result<MilliCpu, String> {
    let quantity =
        Quantity::parse(text).map_err(|e| format!("{e}: give a CPU quantity, such as 100m"))?;
    quantity
        .as_cpu()
        .ok_or_else(|| "it must not be negative".to_owned())
}

#[cfg(test)]
mod tests;
