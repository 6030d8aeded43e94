//! The grammar of `mbcas.*` pod annotations, and its only parser.
//!
//! What the webhook admits, the control loop can read, because both call
//! [`Settings::parse`]. Every refusal names the key, the value, the rule and a
//! fix; all of a pod's faults are reported at once.
//!
//! | key | value | default |
//! | --- | --- | --- |
//! | `mbcas.enabled` | `"true"` or `"false"` | `"true"` in a labelled namespace |
//! | `mbcas.budget` | whole number from 1 to 1000000 | 100 |
//! | `mbcas.minCPU` | CPU quantity from `10m` to `10k` | the container's request |
//! | `mbcas.maxCPU` | CPU quantity from `10m` to `10k`, not below `mbcas.minCPU` or the request | the node's allocatable |
//! | `mbcas.container` | name of the container that takes part | `kubectl.kubernetes.io/default-container`, else the first |
//! | `mbcas.mode` | `observe`, `recommend` or `auto` | the controller's |
//! | `mbcas.agent` | `sidecar` or `none` | `sidecar` |
//! | `mbcas.metrics` | `http://localhost:PORT/PATH#METRIC`, see [`AppMetrics`] | none |
//! | `mbcas.slo` | time from `1ms` to `60s`, beside a latency in `mbcas.metrics` | none |
//! | `mbcas.processes` | `own` or `shared` | `own` |

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::quantity::Quantity;
use crate::units::{Budget, MilliCpu};

mod app_metrics;
mod slo;

pub use app_metrics::{AppMetrics, Format, Queue};
pub use slo::Slo;

/// Whether the pod takes part.
pub const ENABLED: &str = "mbcas.enabled";
/// The pod's weight in the market.
pub const BUDGET: &str = "mbcas.budget";
/// The least CPU that its container may be given.
pub const MIN_CPU: &str = "mbcas.minCPU";
/// The most CPU that its container may be given.
pub const MAX_CPU: &str = "mbcas.maxCPU";
/// Which of its containers takes part.
pub const CONTAINER: &str = "mbcas.container";
/// How far MBCAS may go with it.
pub const MODE: &str = "mbcas.mode";
/// Whether it gets a demand agent.
pub const AGENT: &str = "mbcas.agent";
/// Where its application reports its own queue and latency.
pub const METRICS: &str = "mbcas.metrics";
/// The latency that its application is to keep.
pub const SLO: &str = "mbcas.slo";
/// Whether its containers see each other's processes.
pub const PROCESSES: &str = "mbcas.processes";

/// Every key that a user may write, in the order of the table above.
pub const KEYS: [&str; 10] = [
    ENABLED, BUDGET, MIN_CPU, MAX_CPU, CONTAINER, MODE, AGENT, METRICS, SLO, PROCESSES,
];

/// What every key of ours begins with.
pub const PREFIX: &str = "mbcas.";

/// What the keys begin with that MBCAS itself writes. They are not part of this grammar.
pub const RESERVED_PREFIX: &str = "mbcas.dev/";

/// The least value of `mbcas.minCPU` and `mbcas.maxCPU`, see [`MilliCpu::QUANTUM`].
pub const LEAST_CPU: MilliCpu = MilliCpu::QUANTUM;

/// The greatest value of `mbcas.minCPU` and `mbcas.maxCPU`: 10 000 cores, more than any node has.
pub const MOST_CPU: MilliCpu = MilliCpu::new(10_000_000);

/// The most digits of an amount of CPU, its point included.
const LONGEST_NUMBER: usize = 32;

/// The longest value that a message repeats, in characters.
const QUOTED: usize = 60;

/// How far MBCAS goes with a pod. Ordered: the more careful one is the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Measure only.
    Observe,
    /// Clear the market and publish what it would do, write nothing.
    Recommend,
    /// Resize.
    Auto,
}

impl Mode {
    /// Every mode with its name.
    const NAMES: [(Self, &'static str); 3] = [
        (Self::Observe, "observe"),
        (Self::Recommend, "recommend"),
        (Self::Auto, "auto"),
    ];

    /// The name, as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Recommend => "recommend",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Mode {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::NAMES.iter().find(|(_, name)| *name == text);
        known
            .map(|(mode, _)| *mode)
            .ok_or_else(|| "it must be observe, recommend or auto".to_owned())
    }
}

/// Whether a pod gets a demand agent. Without one it takes part on evidence alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AgentChoice {
    /// A native sidecar is injected.
    #[default]
    Sidecar,
    /// Nothing is injected.
    None,
}

/// Whether a pod's containers see each other's processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Processes {
    /// The pod stays as it was submitted.
    #[default]
    Own,
    /// They do, and the agent sees how long the application's threads wait for CPU.
    Shared,
}

/// What a pod's annotations ask for. A field is absent where the user wrote nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    /// `mbcas.enabled`.
    pub enabled: Option<bool>,
    /// `mbcas.budget`.
    pub budget: Option<Budget>,
    /// `mbcas.minCPU`.
    pub min_cpu: Option<MilliCpu>,
    /// `mbcas.maxCPU`.
    pub max_cpu: Option<MilliCpu>,
    /// `mbcas.container`.
    pub container: Option<String>,
    /// `mbcas.mode`.
    pub mode: Option<Mode>,
    /// `mbcas.agent`.
    pub agent: AgentChoice,
    /// `mbcas.metrics`.
    pub metrics: Option<AppMetrics>,
    /// `mbcas.slo`.
    pub slo: Option<Slo>,
    /// `mbcas.processes`.
    pub processes: Processes,
}

/// One fault of one annotation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("annotation {key}{} is refused: {rule}; {fix}", quoted(.value.as_deref()))]
pub struct SettingsError {
    /// The key at fault.
    pub key: String,
    /// The value at fault; absent where the key itself is the fault.
    pub value: Option<String>,
    /// What it breaks.
    pub rule: String,
    /// What to write instead.
    pub fix: String,
}

fn quoted(value: Option<&str>) -> String {
    value.map_or_else(String::new, |v| format!("={}", excerpt(v)))
}

/// A value as a message may repeat it: quoted, control characters escaped, cut.
fn excerpt(value: &str) -> String {
    let shown: String = value.chars().take(QUOTED).collect();
    let cut = if shown.len() < value.len() { "…" } else { "" };
    format!("{shown:?}{cut}")
}

impl SettingsError {
    fn new(key: &str, value: &str, rule: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            value: Some(value.to_owned()),
            rule: rule.into(),
            fix: fix.into(),
        }
    }

    fn unknown(key: &str) -> Self {
        const LONGEST_MISSPELLING: usize = 64;
        // Longer ones are no misspelling, and comparing takes the square of the length.
        let near = KEYS.iter().filter(|_| key.len() <= LONGEST_MISSPELLING);
        let nearest = near
            .map(|known| {
                (
                    strsim::damerau_levenshtein(&key.to_lowercase(), &known.to_lowercase()),
                    known,
                )
            })
            // At most half of what is there may be wrong.
            .filter(|(distance, known)| {
                let longer = key.len().max(known.len()) - PREFIX.len();
                *distance <= 4 && distance * 2 <= longer
            })
            .min();
        let fix = nearest.map_or_else(
            || format!("known keys are {}", KEYS.join(", ")),
            |(_, known)| format!("did you mean {known}?"),
        );
        let key = excerpt(key).trim_matches('"').to_owned();
        Self {
            key,
            value: None,
            rule: "MBCAS knows no such key".to_owned(),
            fix,
        }
    }
}

impl Settings {
    /// Reads the annotations of a pod. Keys of others, and those under
    /// [`RESERVED_PREFIX`], are passed over.
    ///
    /// # Errors
    /// Every fault there is, ordered by key.
    pub fn parse(annotations: &BTreeMap<String, String>) -> Result<Self, Vec<SettingsError>> {
        let mut settings = Self::default();
        let mut faults = Vec::new();
        for (key, value) in annotations {
            if !key.starts_with(PREFIX) || key.starts_with(RESERVED_PREFIX) {
                continue;
            }
            if let Err(fault) = settings.take(key, value) {
                faults.push(fault);
            }
        }
        faults.extend(settings.contradictions(annotations));
        if faults.is_empty() {
            Ok(settings)
        } else {
            Err(faults)
        }
    }

    /// What each value may be by itself and all of them may not be together.
    fn contradictions(&self, annotations: &BTreeMap<String, String>) -> Vec<SettingsError> {
        let fault = |key: &str, rule: String, fix: String| {
            let value = annotations.get(key).map_or("", String::as_str);
            SettingsError::new(key, value, rule, fix)
        };
        let mut faults = Vec::new();
        if let (Some(min), Some(max)) = (self.min_cpu, self.max_cpu)
            && min > max
        {
            let rule = format!("the least CPU {min} is above the most CPU {max}");
            faults.push(fault(MIN_CPU, rule, format!("lower it or raise {MAX_CPU}")));
        }
        // A value that was refused already is not missing too.
        let latency = self.metrics.as_ref().map(|app| app.latency.is_some());
        if latency == Some(true) && !annotations.contains_key(SLO) {
            let rule = format!("it has a latency, and {SLO} does not say what that may be");
            let fix = format!("add {SLO}, for example \"250ms\"");
            faults.push(fault(METRICS, rule, fix));
        }
        let is_unmeasured = latency == Some(false) || !annotations.contains_key(METRICS);
        if self.slo.is_some() && is_unmeasured {
            let rule = format!("{METRICS} names no latency to compare with it");
            let fix = format!(
                "for example {METRICS}: \"http://localhost:8080/metrics#latency=request_seconds\""
            );
            faults.push(fault(SLO, rule, fix));
        }
        faults
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), SettingsError> {
        let refuse = |rule: String, fix: &str| SettingsError::new(key, value, rule, fix);
        match key {
            ENABLED => match value {
                "true" => self.enabled = Some(true),
                "false" => self.enabled = Some(false),
                _ => {
                    return Err(refuse(
                        "it must be \"true\" or \"false\"".into(),
                        "write one of the two, quoted",
                    ));
                }
            },
            BUDGET => {
                self.budget =
                    Some(budget(value).map_err(|rule| refuse(rule, "for example \"300\""))?);
            }
            MIN_CPU => {
                self.min_cpu =
                    Some(cpu(value).map_err(|rule| refuse(rule, "for example \"250m\""))?);
            }
            MAX_CPU => {
                self.max_cpu =
                    Some(cpu(value).map_err(|rule| refuse(rule, "for example \"1500m\""))?);
            }
            CONTAINER => {
                let name = container_name(value)
                    .map_err(|rule| refuse(rule, "name one of the pod's containers"))?;
                self.container = Some(name);
            }
            MODE => {
                self.mode = Some(
                    value
                        .parse()
                        .map_err(|rule| refuse(rule, "for example \"auto\""))?,
                );
            }
            AGENT => match value {
                "sidecar" => self.agent = AgentChoice::Sidecar,
                "none" => self.agent = AgentChoice::None,
                _ => {
                    return Err(refuse(
                        "it must be sidecar or none".into(),
                        "write one of the two",
                    ));
                }
            },
            METRICS => {
                let fix = "for example \"http://localhost:8080/metrics#app_queue_depth\"";
                self.metrics = Some(value.parse().map_err(|rule| refuse(rule, fix))?);
            }
            SLO => {
                self.slo = Some(
                    value
                        .parse()
                        .map_err(|rule| refuse(rule, "for example \"250ms\""))?,
                );
            }
            PROCESSES => match value {
                "own" => self.processes = Processes::Own,
                "shared" => self.processes = Processes::Shared,
                _ => {
                    return Err(refuse(
                        "it must be own or shared".into(),
                        "write one of the two",
                    ));
                }
            },
            unknown => return Err(SettingsError::unknown(unknown)),
        }
        Ok(())
    }

    /// Whether the pod takes part, as far as its own word goes.
    pub fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    /// The least that the container is to have: its request, or more if `mbcas.minCPU` says so.
    pub fn floor(&self, request: MilliCpu) -> MilliCpu {
        self.min_cpu.unwrap_or_default().max(request)
    }

    /// Checks the bounds against the container's own CPU request: a limit
    /// cannot go below it, so neither may `mbcas.maxCPU`.
    ///
    /// # Errors
    /// One fault, for [`MAX_CPU`].
    pub fn check_request(&self, request: Option<MilliCpu>) -> Result<(), SettingsError> {
        match (self.max_cpu, request) {
            (Some(max), Some(request)) if max < request => Err(SettingsError::new(
                MAX_CPU,
                &max.to_string(),
                format!("it is below the container's CPU request of {request}"),
                format!("write {request} or more, or lower the request"),
            )),
            _ => Ok(()),
        }
    }
}

/// Digits only: a sign, a fraction or a space is refused, and so is a leading zero.
fn budget(value: &str) -> Result<Budget, String> {
    const RULE: &str = "it must be a whole number from 1 to 1000000";
    if value.is_empty() || value.starts_with('0') || !value.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RULE.to_owned());
    }
    let number = value.parse::<u64>().map_err(|_| RULE.to_owned())?;
    Budget::new(number).map_err(|_| RULE.to_owned())
}

/// Whether the API server, whose policy refuses what we refuse, can afford to
/// compare a quantity: it takes a minute over `1e100000000`.
fn is_modest(quantity: &str) -> bool {
    let unsigned = quantity.strip_prefix(['+', '-']).unwrap_or(quantity);
    let suffix = unsigned.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let exponent = suffix.trim_start_matches(|c: char| !c.is_ascii_digit());
    unsigned.len() - suffix.len() <= LONGEST_NUMBER && exponent.len() <= 2
}

/// An amount of CPU as `mbcas.minCPU`, `mbcas.maxCPU` and a BudgetPolicy name it.
///
/// # Errors
/// The rule that `value` breaks.
pub fn cpu(value: &str) -> Result<MilliCpu, String> {
    let quantity =
        Quantity::parse(value).map_err(|why| format!("it must be a CPU quantity ({why})"))?;
    if !is_modest(value) {
        return Err(format!(
            "it must have at most {LONGEST_NUMBER} digits, and two in an exponent"
        ));
    }
    let cpu = quantity
        .as_cpu()
        .filter(|cpu| (LEAST_CPU..=MOST_CPU).contains(cpu));
    cpu.ok_or_else(|| "it must be from 10m to 10k (10000 cores)".to_owned())
}

/// An RFC 1123 label, as container names are.
fn container_name(value: &str) -> Result<String, String> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let edges = value.bytes().next().is_some_and(inner) && value.bytes().last().is_some_and(inner);
    if edges && value.len() <= 63 && value.bytes().all(|b| inner(b) || b == b'-') {
        return Ok(value.to_owned());
    }
    Err("it must be a container's name (lower case letters, digits and -, at most 63)".to_owned())
}

#[cfg(test)]
mod tests;
