//! The command line. Every flag has an environment variable, and one default.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use k8s_openapi::jiff::SignedDuration;
use mbcas_api::names::CERTIFICATE_DIR;
use mbcas_certs::schedule::{LEAF_LIFETIME, SHORTEST_LEAF_LIFETIME};
use mbcas_runtime::admin::AdminArgs;
use mbcas_runtime::log::LogArgs;

use crate::policy::{
    AGENT_CPU_LIMIT, AGENT_CPU_REQUEST, AGENT_MEMORY_LIMIT, AGENT_MEMORY_REQUEST, AgentSpec,
    Policy, PolicyError, PullPolicy,
};

/// Where the webhook's certificate comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Certificates {
    /// It makes its own, shares the authority among the replicas, and writes the caBundle.
    #[default]
    Auto,
    /// Somebody else keeps it in files (cert-manager, or the operator), and the caBundle too.
    Files,
}

/// Injects the MBCAS demand agent into pods and validates their mbcas.* annotations.
#[derive(Clone, Debug, Parser)]
#[command(name = "mbcas-webhook", version)]
pub struct Args {
    /// Address that the API server's calls arrive at.
    #[arg(
        long,
        env = "MBCAS_WEBHOOK_ADDR",
        default_value = "[::]:9443",
        value_name = "IP:PORT"
    )]
    pub addr: SocketAddr,

    /// Namespace that the webhook runs in.
    #[arg(long, env = "MBCAS_NAMESPACE", value_name = "NAME")]
    pub namespace: String,

    /// Where the webhook's certificate comes from.
    #[arg(
        long,
        env = "MBCAS_CERTIFICATES",
        value_enum,
        default_value_t,
        value_name = "SOURCE"
    )]
    pub certificates: Certificates,

    /// With --certificates auto: how long what it makes for itself is valid, from 2m to 168h; renewed
    /// after two thirds.
    #[arg(
        long,
        env = "MBCAS_LEAF_LIFETIME",
        default_value = "168h",
        value_parser = leaf_lifetime,
        value_name = "TIME"
    )]
    pub leaf_lifetime: Duration,

    /// With --certificates files: the directory that holds tls.crt and tls.key.
    #[arg(
        long,
        env = "MBCAS_CERTIFICATE_DIR",
        default_value = CERTIFICATE_DIR,
        value_name = "DIR"
    )]
    pub certificate_dir: PathBuf,

    /// Image of the sidecar.
    #[arg(long, env = "MBCAS_AGENT_IMAGE", value_name = "IMAGE")]
    pub agent_image: String,

    /// The sidecar, and what comes with it.
    #[command(flatten)]
    pub agent: AgentArgs,

    /// The admin port.
    #[command(flatten)]
    pub admin: AdminArgs,

    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}

fn leaf_lifetime(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<SignedDuration>().ok();
    let lifetime = parsed.and_then(|time| Duration::try_from(time).ok());
    lifetime
        .filter(|time| (SHORTEST_LEAF_LIFETIME..=LEAF_LIFETIME).contains(time))
        .ok_or_else(|| "it must be a time with its unit from 2m to 168h, such as 24h".to_owned())
}

impl Args {
    /// The operator's decisions, checked.
    ///
    /// # Errors
    /// [`PolicyError`] for the first one that cannot be carried out.
    pub fn policy(&self) -> Result<Policy, PolicyError> {
        self.agent.policy(&self.agent_image)
    }
}

/// What is decided about the sidecar besides its image; `mbcas inject` takes the same flags.
#[derive(Clone, Debug, clap::Args)]
pub struct AgentArgs {
    /// When the sidecar's image is pulled.
    #[arg(
        long,
        env = "MBCAS_AGENT_IMAGE_PULL_POLICY",
        value_enum,
        default_value_t,
        value_name = "WHEN"
    )]
    pub agent_image_pull_policy: PullPolicy,

    /// CPU request of the sidecar.
    #[arg(
        long,
        env = "MBCAS_AGENT_CPU_REQUEST",
        default_value = AGENT_CPU_REQUEST,
        value_name = "CPU"
    )]
    pub agent_cpu_request: String,

    /// CPU limit of the sidecar; the container runtime's own start-up runs inside it.
    #[arg(
        long,
        env = "MBCAS_AGENT_CPU_LIMIT",
        default_value = AGENT_CPU_LIMIT,
        value_name = "CPU"
    )]
    pub agent_cpu_limit: String,

    /// Memory request of the sidecar.
    #[arg(
        long,
        env = "MBCAS_AGENT_MEMORY_REQUEST",
        default_value = AGENT_MEMORY_REQUEST,
        value_name = "BYTES"
    )]
    pub agent_memory_request: String,

    /// Memory limit of the sidecar.
    #[arg(
        long,
        env = "MBCAS_AGENT_MEMORY_LIMIT",
        default_value = AGENT_MEMORY_LIMIT,
        value_name = "BYTES"
    )]
    pub agent_memory_limit: String,

    /// CPU limit for a container that has neither a limit nor mbcas.maxCPU.
    #[arg(
        long,
        env = "MBCAS_DEFAULT_MAX_CPU",
        default_value = "64",
        value_name = "CPU"
    )]
    pub default_max_cpu: String,
}

impl AgentArgs {
    /// The decisions with the sidecar's image, checked.
    ///
    /// # Errors
    /// [`PolicyError`] for the first one that cannot be carried out.
    pub fn policy(&self, image: &str) -> Result<Policy, PolicyError> {
        let agent = AgentSpec {
            image: image.to_owned(),
            pull_policy: self.agent_image_pull_policy,
            cpu_request: self.agent_cpu_request.clone(),
            cpu_limit: self.agent_cpu_limit.clone(),
            memory_request: self.agent_memory_request.clone(),
            memory_limit: self.agent_memory_limit.clone(),
        };
        Policy::new(agent, &self.default_max_cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use mbcas_core::units::MilliCpu;

    const LEAST: [&str; 5] = [
        "mbcas-webhook",
        "--namespace",
        "mbcas-system",
        "--agent-image",
        "example/agent:1",
    ];

    #[test]
    fn the_defaults_are_a_policy() {
        Args::command().debug_assert();
        let args = Args::try_parse_from(LEAST).unwrap();
        let policy = args.policy().unwrap();
        assert_eq!(args.addr.port(), mbcas_api::names::WEBHOOK_PORT);
        assert_eq!(args.certificates, Certificates::Auto);
        assert_eq!(args.certificate_dir, PathBuf::from("/etc/mbcas/tls"));
        assert_eq!(args.leaf_lifetime, LEAF_LIFETIME);
        assert_eq!(policy.agent().pull_policy, PullPolicy::IfNotPresent);
        assert_eq!(policy.default_max_cpu(), MilliCpu::new(64_000));
    }

    #[test]
    fn a_leaf_lives_for_two_minutes_at_the_least_and_a_week_at_the_most() {
        let with = |time| {
            let flag = format!("--leaf-lifetime={time}");
            let words = LEAST.iter().copied().chain([flag.as_str()]);
            Args::try_parse_from(words).map(|args| args.leaf_lifetime)
        };
        assert_eq!(with("2m").unwrap(), SHORTEST_LEAF_LIFETIME);
        assert_eq!(with("24h").unwrap(), Duration::from_hours(24));
        for bad in ["119s", "169h", "-2m", "24", "soon"] {
            let said = with(bad).unwrap_err().to_string();
            assert!(said.contains("from 2m to 168h, such as 24h"), "{said}");
        }
    }

    #[test]
    fn every_flag_has_an_environment_variable() {
        for flag in Args::command()
            .get_arguments()
            .filter(|a| a.get_long().is_some())
        {
            let own = ["help", "version"].contains(&flag.get_id().as_str());
            assert!(own || flag.get_env().is_some(), "{}", flag.get_id());
        }
    }

    #[test]
    fn a_missing_image_and_a_bad_address_are_refused() {
        assert!(Args::try_parse_from(&LEAST[..3]).is_err());
        let bad = LEAST.iter().copied().chain(["--addr", "9443"]);
        assert!(Args::try_parse_from(bad).is_err());
        let bad = LEAST
            .iter()
            .copied()
            .chain(["--agent-image-pull-policy", "sometimes"]);
        assert!(Args::try_parse_from(bad).is_err());
        let bad = LEAST
            .iter()
            .copied()
            .chain(["--certificates", "cert-manager"]);
        assert!(Args::try_parse_from(bad).is_err());
    }
}
