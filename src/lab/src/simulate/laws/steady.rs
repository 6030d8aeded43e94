//! Input that does not change.

use super::*;

/// Loads up to which there is room for everybody, in the names of their scenarios.
const ROOMY: [&str; 5] = ["0.40", "0.50", "0.70", "0.80", "0.90"];
/// And those at which there is not.
const CROWDED: [&str; 3] = ["0.95", "1.05", "1.30"];

fn steady(load: &str, from: u64, until: u64) -> Scenario {
    counted(&format!("steady-{load}"), from, until)
}

/// From the third minute on, when what is needed is known, no limit goes back the way it came.
fn steady_input_has_steady_limits(loads: &[&str]) {
    for load in loads {
        for seed in SEEDS {
            let outcome = run(&steady(load, 3, 12), Kind::Market, seed);
            let reversals: Vec<u64> = outcome.pods.iter().map(|pod| pod.reversals).collect();
            let what = format!("{load}, seed {seed}: {reversals:?}");
            assert!(reversals.iter().all(|n| *n == 0), "{what}");
        }
    }
}

#[test]
fn steady_input_has_steady_limits_where_there_is_room() {
    steady_input_has_steady_limits(&ROOMY);
}

#[test]
fn steady_input_has_steady_limits_in_a_crowd() {
    steady_input_has_steady_limits(&CROWDED);
}

/// Up to 0.9 of the node, and with requests that are right: latencies within 2 % of those without limits,
/// and the same throughput within a thousandth.
#[test]
fn right_requests_are_left_alone() {
    for load in ROOMY {
        let scenario = steady(load, 2, 10);
        let [free, ours] = [Kind::None, Kind::Market].map(|kind| run(&scenario, kind, 1));
        let total = |outcome: &Outcome| outcome.pods.iter().map(|pod| pod.cpu).sum::<f64>();
        assert!((total(&ours) / total(&free) - 1.0).abs() < 0.001, "{load}");
        for (ours, free) in ours.pods.iter().zip(&free.pods) {
            let [ours, free] = [ours, free].map(|pod| pod.latency.as_ref().unwrap());
            assert_eq!(ours.count(), free.count(), "{load}");
            for share in [0.5, 0.95, 0.99] {
                let [ours, free] = [ours, free].map(|l| l.quantile(share).unwrap());
                assert!(
                    (ours / free - 1.0).abs() < 0.02,
                    "{load}: {ours} for {free} ms"
                );
            }
        }
    }
}

/// With the seed's rule, limits that are grants, the same services are late: what the rule here is for.
#[test]
fn limits_that_are_grants_make_late_what_is_not_without() {
    let scenario = steady("0.70", 2, 6);
    let [free, grants] = [Kind::None, Kind::Proportional].map(|kind| run(&scenario, kind, 1));
    let worst = |outcome: &Outcome| outcome.pods.iter().map(late).fold(0.0, f64::max);
    assert!(worst(&grants) > 10.0 * worst(&free) && worst(&grants) > 50.0);
}
