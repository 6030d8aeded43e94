//! What can be gained by lying, and by being many.

use std::time::Duration;

use super::Scenario;
use crate::simulate::agent::Manner;
use crate::simulate::load::Load;
use crate::simulate::pod::{PodSpec, Role, Workload};

/// How long a game lasts: long enough for a liar to be found out.
const GAME: Duration = Duration::from_hours(1);

pub(super) fn scenarios() -> Vec<Scenario> {
    let toggles = Manner::Toggles {
        every: Duration::from_secs(20),
    };
    vec![
        liar("liar-truth", Manner::Honest),
        liar("liar-shouts", Manner::Shouts).against("liar-truth"),
        liar("liar-toggles", toggles).against("liar-truth"),
        greedy("greedy-truth", Manner::Honest),
        greedy("greedy-shouts", Manner::Shouts).against("greedy-truth"),
        greedy("greedy-toggles", toggles).against("greedy-truth"),
        split("split-one", 1, 200, 200),
        split("split-two-shared", 2, 100, 100).against("split-one"),
        split("split-four-shared", 4, 50, 50).against("split-one"),
        split("split-four", 4, 200, 200).against("split-one"),
    ]
}

/// A full node with a hog: a service of budget 200 that needs no more than it is entitled to.
fn liar(name: &str, manner: Manner) -> Scenario {
    let service = |name: &str, load: f64, budget| {
        PodSpec::service(name, Load::Steady(load), 800)
            .budget(budget)
            .request(200)
    };
    let pods = vec![
        service("liar", 0.6, 200).role(Role::Focus).agent(manner),
        service("web", 0.6, 200),
        service("api", 0.6, 300),
        service("jobs", 0.4, 100),
        // So heavy that its weight alone would push the others below what they need.
        PodSpec::burner("hog").request(800),
    ];
    Scenario::new(name, pods).lasting(GAME)
}

/// The same node, where the hog is the one who lies.
fn greedy(name: &str, manner: Manner) -> Scenario {
    let mut scenario = liar(name, Manner::Honest);
    for pod in &mut scenario.pods {
        match pod.role {
            Role::Neighbour => pod.agent = manner,
            // The hog is what this one is about.
            _ => pod.role = Role::Service,
        }
    }
    if let Some(hog) = scenario.pods.last_mut() {
        hog.role = Role::Focus;
    }
    scenario
}

/// A tenant who burns with eight threads in `parts` pods, beside another who burns in one.
fn split(name: &str, parts: u32, budget: u64, request: u64) -> Scenario {
    let mut pods = vec![
        PodSpec::service("web", Load::Steady(0.8), 800)
            .budget(600)
            .request(200),
        PodSpec::service("api", Load::Steady(0.8), 800)
            .budget(300)
            .request(200),
        PodSpec::burner("other").budget(200).request(200),
    ];
    for part in 0..parts {
        let mut pod = PodSpec::burner(format!("tenant-{part}"))
            .role(Role::Focus)
            .budget(budget)
            .request(request);
        if let Workload::Burner { threads, .. } = &mut pod.workload {
            *threads = 8 / parts;
        }
        pods.push(pod);
    }
    Scenario::new(name, pods).lasting(Duration::from_mins(22))
}
