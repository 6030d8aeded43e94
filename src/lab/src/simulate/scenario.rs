//! What is simulated: a node, its pods, and what is asked of them.

use std::sync::Arc;
use std::time::Duration;

use mbcas_core::MilliCpu;
use mbcas_market::weight::WeightCurve;

use super::kubelet::Measures;
use super::pod::PodSpec;
use super::trace;

mod fleet;
mod games;
mod turns;
mod victim;

/// The longest that is simulated. What lasts so long has to be asked for by its name.
const DAY: Duration = Duration::from_hours(24);

/// The node.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Its cores.
    pub cores: u32,
    /// What it has for pods.
    pub allocatable: MilliCpu,
    /// What the operator keeps out of the market.
    pub reserve: MilliCpu,
    /// How its runtime makes weights of requests.
    pub curve: WeightCurve,
    /// Whether the market is told so.
    pub is_curve_known: bool,
    /// When its kubelet measures usage.
    pub kubelet: Measures,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            cores: 4,
            allocatable: MilliCpu::new(3_900),
            reserve: MilliCpu::new(300),
            curve: WeightCurve::Shares,
            is_curve_known: true,
            kubelet: Measures::default(),
        }
    }
}

/// One thing to simulate.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name: a family, and a member after the dash.
    pub name: String,
    /// The node.
    pub machine: Machine,
    /// Its pods.
    pub pods: Vec<PodSpec>,
    /// How long it is simulated.
    pub length: Duration,
    /// From when on it counts.
    pub measure_from: Duration,
    /// Whether that is the moment at which something changes.
    pub has_turn: bool,
    /// The scenario that shows what would have been, had the focus behaved.
    pub against: Option<String>,
}

impl Scenario {
    fn new(name: impl Into<String>, pods: Vec<PodSpec>) -> Self {
        Self {
            name: name.into(),
            machine: Machine::default(),
            pods,
            length: Duration::from_mins(6),
            measure_from: Duration::from_mins(2),
            has_turn: false,
            against: None,
        }
    }

    fn lasting(self, length: Duration) -> Self {
        Self { length, ..self }
    }

    /// Something changes at `measure_from`, and it counts from then on.
    fn turning_at(self, measure_from: Duration) -> Self {
        Self {
            measure_from,
            has_turn: true,
            ..self
        }
    }

    fn against(self, other: &str) -> Self {
        Self {
            against: Some(other.to_owned()),
            ..self
        }
    }

    /// Whether `asked` means it: all, unless it lasts a day; its name, or its family.
    pub fn is_meant_by(&self, asked: &str) -> bool {
        let rest = self.name.strip_prefix(asked);
        (asked == "all" && self.length < DAY)
            || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

/// How requests relate to what pods need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Requests {
    /// In proportion to the load.
    Right,
    /// All the same.
    Equal,
    /// The neighbour asks for ten times what it would rightly ask for.
    Wrong,
}

impl Requests {
    const fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Equal => "equal",
            Self::Wrong => "wrong",
        }
    }
}

/// Shapes for the scenarios that follow a trace: the one of a file, or made up
/// from a seed, each pod's its own.
#[derive(Clone, Debug)]
pub struct Traces {
    /// From a file.
    pub file: Option<Arc<[f64]>>,
    /// For what is made up.
    pub seed: u64,
}

impl Traces {
    /// The same over a day; a file's hour is stretched to it.
    fn day(&self, index: u64) -> (Arc<[f64]>, usize) {
        match &self.file {
            Some(hour) => {
                let part = usize::try_from(index).unwrap_or(0) * 397;
                (trace::as_a_day(hour), part % hour.len().max(1))
            }
            None => (trace::made_up_day(self.seed.wrapping_mul(1_009) + index), 0),
        }
    }

    /// The shape for the pod in place `index`, and where in it the pod begins.
    fn shape(&self, index: u64) -> (Arc<[f64]>, usize) {
        match &self.file {
            // Services of one trace are out of step with each other.
            Some(shape) => {
                let part = usize::try_from(index).unwrap_or(0) * 397;
                (Arc::clone(shape), part % shape.len().max(1))
            }
            None => (trace::made_up(self.seed.wrapping_mul(1_009) + index), 0),
        }
    }
}

/// All there are.
pub fn all(traces: &Traces) -> Vec<Scenario> {
    [
        victim::scenarios(),
        fleet::steady(),
        fleet::traced(traces),
        fleet::days(traces),
        fleet::idle(),
        turns::scenarios(),
        games::scenarios(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_what_is_compared_exists() {
        let traces = Traces {
            file: None,
            seed: 1,
        };
        let all = all(&traces);
        let names: BTreeSet<_> = all.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        for scenario in &all {
            assert!(scenario.measure_from < scenario.length, "{}", scenario.name);
            let against = scenario.against.as_deref();
            assert!(
                against.is_none_or(|other| names.contains(other)),
                "{}",
                scenario.name
            );
            let pods: BTreeSet<_> = scenario.pods.iter().map(|p| p.name.as_str()).collect();
            assert_eq!(pods.len(), scenario.pods.len(), "{}", scenario.name);
            let requests: MilliCpu = scenario.pods.iter().map(|p| p.request).sum();
            assert!(
                requests <= scenario.machine.allocatable,
                "{}",
                scenario.name
            );
        }
    }

    #[test]
    fn a_family_means_its_members() {
        let scenario = Scenario::new("victim-right", Vec::new());
        assert!(
            ["all", "victim", "victim-right"]
                .iter()
                .all(|a| scenario.is_meant_by(a))
        );
        assert!(
            ["vic", "victim-", "right", "victim-right-x"]
                .iter()
                .all(|a| !scenario.is_meant_by(a))
        );
    }
}
