//! A service beside a noisy neighbour.

use super::{Requests, Scenario};
use crate::simulate::load::Load;
use crate::simulate::pod::{PodSpec, Role};

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut alone = pair(Load::Steady(0.8), Requests::Right);
    alone.truncate(2);
    let beside = |requests: Requests| {
        let name = format!("victim-{}", requests.name());
        Scenario::new(name, pair(Load::Steady(0.8), requests))
    };
    let mut stranger = pair(Load::Steady(0.8), Requests::Right);
    if let Some(burner) = stranger.last_mut() {
        burner.takes_part = false;
        *burner = burner.clone().request(0);
    }
    vec![
        Scenario::new("victim-alone", alone),
        beside(Requests::Right),
        beside(Requests::Equal),
        beside(Requests::Wrong),
        Scenario::new("stranger", stranger),
    ]
}

/// A service of budget 600 under `load`, one of budget 300 with 0.8 cores of
/// work, and a burner of eight threads and budget 100, in this order.
pub(super) fn pair(load: Load, requests: Requests) -> Vec<PodSpec> {
    let (service, burner) = match requests {
        Requests::Right => (1_000, 100),
        Requests::Equal => (100, 100),
        Requests::Wrong => (100, 1_000),
    };
    vec![
        PodSpec::service("victim", load, 800)
            .role(Role::Focus)
            .budget(600)
            .request(service),
        PodSpec::service("api", Load::Steady(0.8), 800)
            .budget(300)
            .request(service),
        PodSpec::burner("burner").request(burner),
    ]
}
