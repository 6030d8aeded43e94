//! What changes at one moment, and how soon all is well again.

use std::time::Duration;

use mbcas_core::MilliCpu;

use super::victim::pair;
use super::{Requests, Scenario};
use crate::simulate::load::Load;
use crate::simulate::pod::{PodSpec, Role, Workload};

/// When it changes.
const TURN: Duration = Duration::from_mins(3);

/// How long it is watched then.
const AFTER: Duration = Duration::from_mins(4);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        trap(),
        turning("step", step(0.3, 0.9)),
        turning("ramp", ramp()),
        turning("return", after_silence()),
        bursts(),
        hog_wakes(),
    ]
}

fn turning(name: &str, load: Load) -> Scenario {
    Scenario::new(name, pair(load, Requests::Wrong))
        .lasting(TURN + AFTER)
        .turning_at(TURN)
}

fn step(before: f64, after: f64) -> Load {
    let at = TURN;
    Load::Step { before, after, at }
}

fn ramp() -> Load {
    Load::Ramp {
        from: 0.3,
        to: 0.9,
        begin: TURN,
        end: TURN + Duration::from_mins(2),
    }
}

/// Silent long enough to be forgotten.
fn after_silence() -> Load {
    Load::Silence {
        load: 0.9,
        from: Duration::from_secs(30),
        until: TURN,
    }
}

fn bursts() -> Scenario {
    let load = Load::Bursts {
        calm: 0.2,
        busy: 1.2,
        every: Duration::from_secs(50),
        length: Duration::from_secs(8),
    };
    Scenario::new("bursts", pair(load, Requests::Wrong)).lasting(Duration::from_mins(22))
}

/// A pod that starts with a limit of 50m and is offered 600m, on a node that has room.
fn trap() -> Scenario {
    let mut trapped = PodSpec::service("trapped", Load::Steady(0.6), 600)
        .role(Role::Focus)
        .budget(300)
        .request(50);
    trapped.start = Some(MilliCpu::new(50));
    let pods = vec![
        trapped,
        PodSpec::service("web", Load::Steady(0.8), 800)
            .budget(600)
            .request(400),
        PodSpec::service("batch", Load::Steady(0.4), 400).request(200),
    ];
    Scenario::new("trap", pods)
        .lasting(Duration::from_mins(10))
        .turning_at(Duration::ZERO)
}

/// A neighbour of ten times the victim's weight that was silent until now.
fn hog_wakes() -> Scenario {
    let mut pods = pair(Load::Steady(0.8), Requests::Wrong);
    for pod in &mut pods {
        if let Workload::Burner { wakes, .. } = &mut pod.workload {
            *wakes = TURN;
        }
    }
    Scenario::new("hog-wakes", pods)
        .lasting(TURN + Duration::from_mins(1))
        .turning_at(TURN)
}
