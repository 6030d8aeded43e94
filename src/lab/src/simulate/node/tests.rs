use super::*;
use crate::simulate::governor::Kind;
use crate::simulate::scenario::{self, Traces};

fn scenario(name: &str, seconds: u64) -> Scenario {
    let traces = Traces {
        file: None,
        seed: 1,
    };
    let mut all = scenario::all(&traces);
    let place = all.iter().position(|s| s.name == name).unwrap();
    let mut scenario = all.swap_remove(place);
    scenario.measure_from = Duration::from_secs(seconds / 3);
    scenario.length = Duration::from_secs(seconds);
    scenario
}

fn figures(scenario: &Scenario, kind: Kind, seed: u64) -> Vec<(u64, u64, u64, u64, String)> {
    let outcome = run(scenario, kind.build().as_mut(), seed, &mut |_, _| ()).unwrap();
    let figures = outcome.pods.iter().map(|pod| {
        let latency = pod.latency.as_ref();
        let p99 = latency.and_then(|l| l.quantile(0.99)).unwrap_or_default();
        (
            pod.counters.usage.get(),
            pod.counters.throttled,
            pod.writes,
            p99.to_bits(),
            format!("{:?}", (pod.cpu.to_bits(), pod.limit.to_bits())),
        )
    });
    figures.collect()
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let scenario = scenario("trace-0.8-equal", 45);
    for kind in [Kind::Captain, Kind::K8sCpu, Kind::Market] {
        let one = figures(&scenario, kind, 5);
        assert_eq!(one, figures(&scenario, kind, 5), "{kind:?}");
        assert_ne!(one, figures(&scenario, kind, 6), "{kind:?}");
    }
}

#[test]
fn every_governor_sees_the_same_requests() {
    let scenario = scenario("victim-alone", 30);
    let count = |kind: Kind| {
        let outcome = run(&scenario, kind.build().as_mut(), 5, &mut |_, _| ()).unwrap();
        let latencies = outcome.pods.iter().filter_map(|pod| pod.latency.as_ref());
        latencies.map(Latency::count).collect::<Vec<_>>()
    };
    assert_eq!(count(Kind::None), count(Kind::Twice));
}

/// Within a fifth of what the first simulator, the one behind the market's
/// constants, found: p95 31 and p99 48 ms alone, 32 and 49 ms beside a burner that gets 2373m.
#[test]
fn a_victim_with_the_right_request_hardly_feels_a_burner() {
    let p = |scenario: &Scenario| {
        let outcome = run(scenario, Kind::None.build().as_mut(), 1, &mut |_, _| ()).unwrap();
        let latency = outcome.pods[0].latency.as_ref().unwrap();
        let burner = outcome.pods.last().unwrap().cpu;
        (
            [0.95, 0.99].map(|share| latency.quantile(share).unwrap()),
            burner,
        )
    };
    let (alone, _) = p(&scenario("victim-alone", 60));
    let (beside, burner) = p(&scenario("victim-right", 60));
    let near = |value: f64, expected: f64| (value / expected - 1.0).abs() < 0.2;
    assert!(near(alone[0], 31.0) && near(alone[1], 48.0), "{alone:?}");
    assert!(near(beside[0], 32.0) && near(beside[1], 49.0), "{beside:?}");
    assert!(near(burner, 2.373), "{burner}");
}

#[test]
fn limits_hold() {
    let scenario = scenario("victim-wrong", 30);
    let outcome = run(&scenario, Kind::Request.build().as_mut(), 1, &mut |_, _| ()).unwrap();
    let used: Vec<_> = outcome.pods.iter().map(|pod| pod.cpu).collect();
    let near = |value: f64, expected: f64| (value / expected - 1.0).abs() < 0.02;
    assert!(
        near(used[0], 0.1) && near(used[1], 0.1) && near(used[2], 1.0),
        "{used:?}"
    );
}
