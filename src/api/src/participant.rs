//! Who takes part, judged from the pod alone.
//!
//! The controller's discovery and the cli's `check` ask the same question here,
//! so that they cannot give different answers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use k8s_openapi::jiff::Timestamp;
use mbcas_core::annotations::{Settings, SettingsError};
use mbcas_core::quantity::Quantity;
use mbcas_core::units::MilliCpu;

use crate::names::{AGENT_CONTAINER, DEFAULT_CONTAINER_ANNOTATION, ORIGINAL_ANNOTATION};
use crate::original::Original;

/// A pod's one container that takes part, with what is needed to deal with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participation {
    /// The container's name.
    pub container: String,
    /// What the pod's annotations ask for.
    pub settings: Settings,
    /// Its CPU request.
    pub request: MilliCpu,
    /// Its CPU limit as it runs: where spec and status differ because a resize
    /// is on its way, the larger one. Absent: unlimited.
    pub limit: Option<MilliCpu>,
    /// The pod carries a demand agent.
    pub has_agent: bool,
    /// When the container started, by its node's clock; a restart counts.
    pub started: Option<Timestamp>,
}

/// Why a pod of a labelled namespace does not take part.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NotParticipant {
    /// `mbcas.enabled: "false"`.
    OptedOut,
    /// It runs, but was not admitted by MBCAS: its original resources are not recorded. A restart mends it.
    NotAdmitted,
    /// Its annotations are malformed.
    Malformed(String),
    /// The container named in `mbcas.container` is not there.
    NoSuchContainer(String),
    /// The container has no CPU request.
    NoRequest,
    /// Guaranteed pods take part in requests mode only.
    Guaranteed,
    /// Its node's kubelet does not report resources, so the API server refuses to resize it.
    NotResizable,
    /// Its `resizePolicy` restarts it on every CPU change.
    RestartOnResize,
    /// Not running, or on its way out.
    NotRunning,
}

impl NotParticipant {
    /// A word for metrics, from a closed set.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::OptedOut => "opted_out",
            Self::NotAdmitted => "not_admitted",
            Self::Malformed(_) => "malformed",
            Self::NoSuchContainer(_) => "no_such_container",
            Self::NoRequest => "no_request",
            Self::Guaranteed => "guaranteed",
            Self::NotResizable => "not_resizable",
            Self::RestartOnResize => "restart_on_resize",
            Self::NotRunning => "not_running",
        }
    }
}

impl Participation {
    /// Judges `pod`, which lives in a labelled namespace.
    ///
    /// # Errors
    /// The reason why it does not take part.
    pub fn of(pod: &Pod) -> Result<Self, NotParticipant> {
        let empty = BTreeMap::new();
        let annotations = pod.metadata.annotations.as_ref().unwrap_or(&empty);
        let settings = Settings::parse(annotations).map_err(|faults| malformed(&faults))?;
        if !settings.is_enabled() {
            return Err(NotParticipant::OptedOut);
        }
        if !is_running(pod) {
            return Err(NotParticipant::NotRunning);
        }
        if !matches!(Original::on(pod), Ok(Some(_))) {
            return Err(NotParticipant::NotAdmitted);
        }
        let spec = pod.spec.as_ref().ok_or(NotParticipant::NotRunning)?;
        let container = chosen(&spec.containers, &settings, annotations)?;
        if restarts_on_resize(container) {
            return Err(NotParticipant::RestartOnResize);
        }
        if pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) == Some("Guaranteed") {
            return Err(NotParticipant::Guaranteed);
        }
        let request = cpu_request(container).ok_or(NotParticipant::NoRequest)?;
        let sidecars = spec.init_containers.as_deref().unwrap_or_default();
        let has_agent = sidecars.iter().any(|c| c.name == AGENT_CONTAINER);
        let (limit, started) = running(pod, container)?;
        Ok(Self {
            container: container.name.clone(),
            settings,
            request,
            limit,
            has_agent,
            started,
        })
    }
}

/// The limit that the container runs with, or will run with if that is more, and since when it runs.
fn running(
    pod: &Pod,
    container: &Container,
) -> Result<(Option<MilliCpu>, Option<Timestamp>), NotParticipant> {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|s| s.container_statuses.as_deref())
        .unwrap_or_default();
    let status = statuses
        .iter()
        .find(|s| s.name == container.name)
        .ok_or(NotParticipant::NotRunning)?;
    let state = status
        .state
        .as_ref()
        .and_then(|state| state.running.as_ref());
    let state = state.ok_or(NotParticipant::NotRunning)?;
    let actual = status
        .resources
        .as_ref()
        .ok_or(NotParticipant::NotResizable)?;
    let (spec, actual) = (cpu_limit(container), cpu_in(actual.limits.as_ref()));
    // No limit is more than any limit.
    let limit = spec.zip(actual).map(|(spec, actual)| spec.max(actual));
    Ok((limit, state.started_at.as_ref().map(|time| time.0)))
}

fn malformed(faults: &[SettingsError]) -> NotParticipant {
    NotParticipant::Malformed(
        faults
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; "),
    )
}

/// Running, scheduled and not terminating.
pub fn is_running(pod: &Pod) -> bool {
    let running = pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
    running && pod.metadata.deletion_timestamp.is_none()
}

/// The container that takes part: `mbcas.container`; else the one that admission
/// chose, as another webhook may have put a container before it since; else the
/// pod's default container, else the first.
///
/// # Errors
/// [`NotParticipant::NoSuchContainer`] if a name is given that no container has.
pub fn chosen<'a>(
    containers: &'a [Container],
    settings: &Settings,
    annotations: &BTreeMap<String, String>,
) -> Result<&'a Container, NotParticipant> {
    let named = |name: &str| containers.iter().find(|c| c.name == name);
    if let Some(name) = &settings.container {
        return named(name).ok_or_else(|| NotParticipant::NoSuchContainer(name.clone()));
    }
    let recorded = annotations
        .get(ORIGINAL_ANNOTATION)
        .and_then(|json| named(&Original::from_json(json).ok()?.participant?));
    let default = || named(annotations.get(DEFAULT_CONTAINER_ANNOTATION)?);
    let missing = || NotParticipant::NoSuchContainer(String::new());
    recorded
        .or_else(default)
        .or_else(|| containers.first())
        .ok_or_else(missing)
}

/// Whether a CPU change would restart the container.
pub fn restarts_on_resize(container: &Container) -> bool {
    let policies = container.resize_policy.as_deref().unwrap_or_default();
    policies
        .iter()
        .any(|p| p.resource_name == "cpu" && p.restart_policy == "RestartContainer")
}

/// The container's CPU request, if it has one above zero.
pub fn cpu_request(container: &Container) -> Option<MilliCpu> {
    cpu_in(container.resources.as_ref()?.requests.as_ref())
}

/// The CPU request that a submitted container is going to have, if above zero:
/// its own, else its limit, which the API server takes for a request that is
/// not there. One of zero is there.
pub fn submitted_cpu_request(container: &Container) -> Option<MilliCpu> {
    let requests = container.resources.as_ref()?.requests.as_ref();
    if requests.is_some_and(|requests| requests.contains_key("cpu")) {
        cpu_in(requests)
    } else {
        cpu_limit(container)
    }
}

/// The container's CPU limit as its spec has it, if it has one above zero.
pub fn cpu_limit(container: &Container) -> Option<MilliCpu> {
    cpu_in(container.resources.as_ref()?.limits.as_ref())
}

fn cpu_in(list: Option<&BTreeMap<String, Amount>>) -> Option<MilliCpu> {
    Quantity::parse(&list?.get("cpu")?.0)
        .ok()?
        .as_cpu()
        .filter(|cpu| *cpu > MilliCpu::ZERO)
}

#[cfg(test)]
mod tests;
