//! What changes at one moment: each bound is what a constant of the market's is for.

use super::*;
use crate::simulate::agent::Manner;
use crate::simulate::latency::Latency;

/// What became of the one that a scenario is about, over all seeds.
#[derive(Debug)]
struct Story {
    /// Requests over 100 ms, in percent.
    late: f64,
    /// In ms.
    p99: f64,
    /// Seconds until all was well for good, in the worst seed.
    well_after: usize,
    /// Writes to all pods, per pod and hour.
    writes: f64,
}

#[allow(clippy::cast_precision_loss)] // thousands
fn story(scenario: &Scenario) -> Story {
    let mut all: Option<Latency> = None;
    let (mut well_after, mut writes, mut hours) = (0, 0, 0.0);
    for seed in SEEDS {
        let outcome = run(scenario, Kind::Market, seed);
        let focus = outcome.pods.iter().find(|pod| pod.role == Role::Focus);
        let latency = focus.unwrap().latency.as_ref().unwrap();
        well_after = well_after.max(latency.settled_after());
        writes += outcome.pods.iter().map(|pod| pod.writes).sum::<u64>();
        hours += outcome.hours * outcome.pods.len() as f64;
        match &mut all {
            Some(all) => all.add(latency),
            None => all = Some(latency.clone()),
        }
    }
    let all = all.unwrap();
    Story {
        late: all.slow() as f64 / all.count() as f64 * 100.0,
        p99: all.quantile(0.99).unwrap(),
        well_after,
        writes: writes as f64 / hours,
    }
}

fn told(name: &str, holds: impl Fn(&Story) -> bool) {
    told_of(&scenario(name), holds);
}

fn told_of(scenario: &Scenario, holds: impl Fn(&Story) -> bool) {
    let (name, story) = (&scenario.name, story(scenario));
    println!("{name}: {story:?}");
    assert!(holds(&story), "{name}: {story:?}");
}

/// Whoever has a limit of a twelfth of what it needs escapes it in seconds.
#[test]
fn a_limit_that_is_far_too_low_is_no_trap() {
    told("trap", |s| s.well_after <= 10 && s.late <= 0.5);
}

/// Nobody has to cry for that: a limit near to what is used is raised before anything is known.
#[test]
fn nor_is_it_one_for_who_has_no_agent() {
    let mut silent = scenario("trap");
    silent.pods[0].agent = Manner::Absent;
    told_of(&silent, |s| s.well_after <= 10);
}

#[test]
fn a_step_is_served_within_minutes() {
    told("step", |s| s.late <= 8.0 && s.p99 <= 800.0);
}

#[test]
fn a_ramp_is_followed() {
    told("ramp", |s| s.late <= 7.0 && s.p99 <= 250.0);
}

#[test]
fn who_comes_back_after_a_silence_is_served() {
    told("return", |s| s.late <= 4.0 && s.p99 <= 200.0);
}

/// Nor has anybody to show what waits: an application that takes every request at once and keeps it waiting itself has
/// an agent that is content, and what it uses says enough.
#[test]
fn nor_is_he_kept_small_whose_agent_sees_nothing_wait() {
    for (name, late, p99) in [("return", 5.0, 250.0), ("step", 10.0, 1_200.0)] {
        let mut content = scenario(name);
        let focus = content.pods.iter_mut();
        for pod in focus.filter(|pod| pod.role == Role::Focus) {
            pod.agent = Manner::Content;
        }
        told_of(&content, |s| s.late <= late && s.p99 <= p99);
    }
}

#[test]
fn a_train_of_bursts_keeps_its_limits() {
    told("bursts", |s| s.late <= 20.0 && s.writes <= 12.0);
}

/// A neighbour that was silent for a long time has earned nothing.
#[test]
fn who_wakes_takes_nothing_from_others() {
    told("hog-wakes", |s| s.late <= 3.0 && s.p99 <= 150.0);
}
