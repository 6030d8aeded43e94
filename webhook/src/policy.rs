//! What the operator has decided about injection.

use std::fmt;

use clap::ValueEnum;
use mbcas_core::quantity::Quantity;
use mbcas_core::units::MilliCpu;
use thiserror::Error;

use crate::sidecar::Sidecar;

/// When the kubelet pulls the agent's image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// When the node does not have it: no start depends on a registry that the node has met before.
    #[default]
    IfNotPresent,
    /// Never.
    Never,
}

impl PullPolicy {
    /// The name, as Kubernetes writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

impl fmt::Display for PullPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The sidecar that is injected. Quantities are kept as the operator wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSpec {
    /// The image, with its tag or digest.
    pub image: String,
    /// When it is pulled.
    pub pull_policy: PullPolicy,
    /// CPU request.
    pub cpu_request: String,
    /// CPU limit, well above the request: the container runtime's own start-up runs inside it.
    pub cpu_limit: String,
    /// Memory request.
    pub memory_request: String,
    /// Memory limit.
    pub memory_limit: String,
}

/// A sidecar's CPU request where its operator does not say.
pub const AGENT_CPU_REQUEST: &str = "10m";
/// Its CPU limit: what the container runtime needs for a start that delays the pod by less than half a second.
pub const AGENT_CPU_LIMIT: &str = "200m";
/// Its memory request.
pub const AGENT_MEMORY_REQUEST: &str = "16Mi";
/// Its memory limit.
pub const AGENT_MEMORY_LIMIT: &str = "32Mi";

impl AgentSpec {
    /// The sidecar with this image, and everything else as it usually is.
    pub fn usual(image: &str) -> Self {
        Self {
            image: image.to_owned(),
            pull_policy: PullPolicy::default(),
            cpu_request: AGENT_CPU_REQUEST.to_owned(),
            cpu_limit: AGENT_CPU_LIMIT.to_owned(),
            memory_request: AGENT_MEMORY_REQUEST.to_owned(),
            memory_limit: AGENT_MEMORY_LIMIT.to_owned(),
        }
    }
}

/// The operator's decisions, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    agent: AgentSpec,
    sidecar: Sidecar,
    default_max_cpu: MilliCpu,
}

/// A decision that cannot be carried out.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PolicyError {
    /// The image is not a name.
    #[error(
        "--agent-image {0:?} is not an image name; write for example registry.example.org/mbcas-demand-agent:1.0"
    )]
    Image(String),
    /// A quantity cannot be read.
    #[error("--{flag} {value:?} is not a positive quantity; write for example {example:?}")]
    Quantity {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What could be given.
        example: &'static str,
    },
    /// Request and limit of the CPU contradict each other.
    #[error(
        "--agent-cpu-limit {limit} must be above --agent-cpu-request {request}: \
         equal ones could make a pod Guaranteed, and a limit that low delays every start"
    )]
    Bounds {
        /// The request.
        request: MilliCpu,
        /// The limit.
        limit: MilliCpu,
    },
}

impl Policy {
    /// Checks the decisions.
    ///
    /// # Errors
    /// [`PolicyError`] names the flag at fault and what could be written instead.
    pub fn new(agent: AgentSpec, default_max_cpu: &str) -> Result<Self, PolicyError> {
        let image = &agent.image;
        if image.is_empty() || !image.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(PolicyError::Image(image.clone()));
        }
        let request = cpu("agent-cpu-request", &agent.cpu_request, "10m")?;
        let limit = cpu("agent-cpu-limit", &agent.cpu_limit, "100m")?;
        if request >= limit {
            return Err(PolicyError::Bounds { request, limit });
        }
        amount("agent-memory-request", &agent.memory_request, "16Mi")?;
        amount("agent-memory-limit", &agent.memory_limit, "32Mi")?;
        let default_max_cpu = cpu("default-max-cpu", default_max_cpu, "64")?;
        Ok(Self {
            sidecar: Sidecar::of(&agent),
            agent,
            default_max_cpu,
        })
    }

    /// The sidecar that is injected.
    pub fn agent(&self) -> &AgentSpec {
        &self.agent
    }

    /// The container and the volume that run it.
    pub fn sidecar(&self) -> &Sidecar {
        &self.sidecar
    }

    /// The cap of a container that has neither a CPU limit nor `mbcas.maxCPU`.
    pub fn default_max_cpu(&self) -> MilliCpu {
        self.default_max_cpu
    }
}

fn cpu(flag: &'static str, value: &str, example: &'static str) -> Result<MilliCpu, PolicyError> {
    let parsed = Quantity::parse(value)
        .ok()
        .and_then(|quantity| quantity.as_cpu());
    let refused = || PolicyError::Quantity {
        flag,
        value: value.to_owned(),
        example,
    };
    parsed
        .filter(|cpu| *cpu > MilliCpu::ZERO)
        .ok_or_else(refused)
}

fn amount(flag: &'static str, value: &str, example: &'static str) -> Result<(), PolicyError> {
    cpu(flag, value, example).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent() -> AgentSpec {
        AgentSpec::usual("example/agent:1")
    }

    #[test]
    fn bad_decisions_are_refused_by_flag_value_and_example() {
        assert!(Policy::new(agent(), "64").is_ok());
        let refusal = |change: fn(&mut AgentSpec), cap: &str| {
            let mut agent = agent();
            change(&mut agent);
            Policy::new(agent, cap).unwrap_err().to_string()
        };
        assert_eq!(
            refusal(|_| (), "lots"),
            r#"--default-max-cpu "lots" is not a positive quantity; write for example "64""#
        );
        assert!(refusal(|_| (), "0").starts_with("--default-max-cpu"));
        assert!(refusal(|a| a.image.clear(), "64").starts_with("--agent-image \"\""));
        assert!(refusal(|a| a.image = "a b".into(), "64").starts_with("--agent-image \"a b\""));
        assert!(
            refusal(|a| a.cpu_request = String::new(), "64").starts_with("--agent-cpu-request")
        );
        assert!(
            refusal(|a| a.memory_limit = "32 Mi".into(), "64").starts_with("--agent-memory-limit")
        );
        let equal = refusal(|a| a.cpu_limit = "0.01".into(), "64");
        assert!(
            equal.contains("10m must be above --agent-cpu-request 10m"),
            "{equal}"
        );
    }
}
