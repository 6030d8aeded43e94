//! Nine services of three budgets, alike on every node.

use std::sync::Arc;
use std::time::Duration;

use super::{DAY, Requests, Scenario, Traces};
use crate::simulate::load::Load;
use crate::simulate::pod::{PodSpec, Role};

/// What each service has of the load, in hundredths.
const SHARES: [u32; 9] = [22, 16, 12, 12, 10, 10, 8, 6, 4];

/// Their budgets, in turn.
const BUDGETS: [u64; 3] = [600, 300, 100];

/// Σ of the services' requests where they are right: half of what the node has.
const REQUESTED: u64 = 1_800;

/// Cores that a load of one is: what the node has for pods.
const NODE: f64 = 3.9;

/// Loads of the steady scenarios, in hundredths of the node.
const STEADY: [u32; 10] = [30, 40, 50, 70, 80, 85, 90, 95, 105, 130];

pub(super) fn steady() -> Vec<Scenario> {
    let scenario = |hundredths: u32| {
        let load = f64::from(hundredths) / 100.0;
        let pods = fleet(load, Requests::Right, |_, load| Load::Steady(load));
        Scenario::new(format!("steady-{load:.2}"), pods).lasting(Duration::from_mins(12))
    };
    STEADY.into_iter().map(scenario).collect()
}

/// Nothing to do for anybody.
pub(super) fn idle() -> Vec<Scenario> {
    let pods = fleet(0.02, Requests::Right, |_, load| Load::Steady(load));
    vec![Scenario::new("idle", pods).lasting(Duration::from_mins(22))]
}

/// An hour's tide and bursts, beside a hog.
pub(super) fn traced(traces: &Traces) -> Vec<Scenario> {
    beside_a_hog("trace", |index| traces.shape(index))
        .map(|scenario| scenario.lasting(Duration::from_hours(1)))
        .collect()
}

/// Each of two loads with each of two kinds of requests; each service follows a shape of its own.
fn beside_a_hog(
    family: &str,
    shape: impl Fn(u64) -> (Arc<[f64]>, usize),
) -> impl Iterator<Item = Scenario> {
    let scenario = move |load: f64, requests: Requests| {
        let mut pods = fleet(load, requests, |index, mean| {
            let (shape, offset) = shape(index);
            Load::Trace {
                mean,
                shape,
                offset,
            }
        });
        pods.push(hog(requests));
        Scenario::new(format!("{family}-{load:.1}-{}", requests.name()), pods)
    };
    let all = [0.6, 0.8].map(|load| [Requests::Right, Requests::Equal].map(|r| (load, r)));
    all.into_iter()
        .flatten()
        .map(move |(load, requests)| scenario(load, requests))
}

/// A day's tide and bursts, beside a hog: at noon the load is a third more than in the mean.
pub(super) fn days(traces: &Traces) -> Vec<Scenario> {
    beside_a_hog("day", |index| traces.day(index))
        .map(|scenario| scenario.lasting(DAY))
        .collect()
}

/// A burner with a request as small as its use is unwanted, or the same as everybody's.
fn hog(requests: Requests) -> PodSpec {
    PodSpec::burner("hog").request(match requests {
        Requests::Right | Requests::Wrong => 100,
        Requests::Equal => REQUESTED / 9,
    })
}

/// The services at `load` of the node, each one's work made of its mean by `shape`.
fn fleet(load: f64, requests: Requests, shape: impl Fn(u64, f64) -> Load) -> Vec<PodSpec> {
    let services = SHARES
        .into_iter()
        .zip(BUDGETS.into_iter().cycle())
        .zip(0u64..);
    services
        .map(|((share, budget), index)| {
            let mean = load * NODE * f64::from(share) / 100.0;
            let right = REQUESTED * u64::from(share) / 100;
            let request = match requests {
                Requests::Right | Requests::Wrong => right,
                Requests::Equal => REQUESTED / 9,
            };
            // Who sets limits by hand expects what the service needs in the mean.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            // at most a few cores
            let expected = (mean * 1_000.0) as u64;
            let role = if budget == BUDGETS[0] {
                Role::Focus
            } else {
                Role::Service
            };
            PodSpec::service(format!("service-{index}"), shape(index, mean), expected)
                .role(role)
                .budget(budget)
                .request(request)
        })
        .collect()
}
