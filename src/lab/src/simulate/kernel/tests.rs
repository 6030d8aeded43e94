use std::time::Duration;

use mbcas_market::weight::WeightCurve;
use proptest::prelude::*;

use super::*;
use crate::simulate::latency::Latency;
use crate::simulate::load::{Arrivals, Cost, Load};
use crate::simulate::work::{Burner, Service};

const MINUTE: u64 = 60;

fn burner(request: u64, threads: u32, limit: Option<u64>) -> Group {
    let wakes = Duration::ZERO;
    let weight = WeightCurve::Shares.weight(MilliCpu::new(request));
    let work = Work::Burner(Burner { threads, wakes });
    let mut group = Group::new(weight, Nanos::millis(request % 100), work);
    group.limit(limit.map(MilliCpu::new));
    group
}

fn service(request: u64, load: f64, workers: usize, limit: Option<u64>) -> Group {
    let end = Nanos::SECOND.times(MINUTE);
    let cost = Cost::Exponential(Nanos::millis(10));
    let arrivals = Arrivals::new(Load::Steady(load), cost, end, request);
    let latency = Latency::since(Nanos::ZERO).unwrap();
    let weight = WeightCurve::Shares.weight(MilliCpu::new(request));
    let work = Work::Service(Box::new(Service::new(arrivals, workers, latency)));
    let mut group = Group::new(weight, Nanos::millis(request % 100), work);
    group.limit(limit.map(MilliCpu::new));
    group
}

fn run(cores: u32, groups: Vec<Group>, seconds: u64) -> Vec<f64> {
    let mut kernel = Kernel::new(cores, groups);
    for _ in 0..seconds * 1_000 {
        kernel.step();
    }
    let usage = kernel.groups.iter().map(|g| g.counters.usage.seconds());
    #[allow(clippy::cast_precision_loss)] // seconds
    usage.map(|used| used / seconds as f64).collect()
}

fn near(value: f64, expected: f64) -> bool {
    (value / expected - 1.0).abs() < 0.01
}

#[test]
fn weights_are_honoured() {
    let used = run(1, vec![burner(100, 2, None), burner(300, 2, None)], 5);
    // 102 and 307 shares.
    assert!(near(used[0], 0.25) && near(used[1], 0.75), "{used:?}");
    let used = run(
        4,
        vec![
            burner(500, 8, None),
            burner(500, 8, None),
            burner(1_000, 8, None),
        ],
        5,
    );
    assert!(
        near(used[0], 1.0) && near(used[1], 1.0) && near(used[2], 2.0),
        "{used:?}"
    );
}

#[test]
fn what_one_cannot_use_goes_to_the_others_by_weight() {
    // One thread cannot use more than one core, whatever its weight.
    let used = run(
        4,
        vec![
            burner(8_000, 1, None),
            burner(500, 8, None),
            burner(1_000, 8, None),
        ],
        5,
    );
    assert!(
        near(used[0], 1.0) && near(used[1], 1.0) && near(used[2], 2.0),
        "{used:?}"
    );
    let used = run(
        4,
        vec![burner(1_000, 8, Some(500)), burner(100, 8, None)],
        5,
    );
    assert!(near(used[0], 0.5) && near(used[1], 3.5), "{used:?}");
}

#[test]
fn a_light_service_gets_all_it_asks_for_beside_a_heavy_burner() {
    let used = run(
        2,
        vec![service(1_000, 0.5, 4, None), burner(100, 8, None)],
        MINUTE,
    );
    assert!(
        (used[0] - 0.5).abs() < 0.03 && near(used[0] + used[1], 2.0),
        "{used:?}"
    );
}

#[test]
fn a_quota_is_throttled_in_every_period() {
    let mut kernel = Kernel::new(4, vec![burner(100, 2, Some(1_500))]);
    for _ in 0..10_000 {
        kernel.step();
    }
    let counters = kernel.groups[0].counters;
    // 150 ms of two threads: 75 ms into each period, 25 ms of two cores remain.
    assert_eq!((counters.periods, counters.throttled), (99, 99));
    assert_eq!(counters.usage, Nanos::millis(15_000));
    assert_eq!(counters.throttled_time, Nanos::millis(100 * 50));
}

#[test]
fn only_periods_with_something_to_run_are_counted() {
    let group = || {
        let wakes = Duration::from_secs(5);
        let mut group = Group::new(100, Nanos::ZERO, Work::Burner(Burner { threads: 1, wakes }));
        group.limit(Some(MilliCpu::new(2_000)));
        group
    };
    let mut kernel = Kernel::new(1, vec![group()]);
    for _ in 0..10_001 {
        kernel.step();
    }
    let counters = kernel.groups[0].counters;
    assert_eq!((counters.periods, counters.throttled), (50, 0));
}

#[test]
fn a_limit_is_never_less_than_a_millisecond_in_a_period() {
    let used = run(1, vec![burner(100, 1, Some(1))], 10);
    assert!(near(used[0], 0.01), "{used:?}");
}

fn any_group() -> impl Strategy<Value = Group> {
    let limit = prop::option::of(10u64..3_000);
    (2u64..4_000, 0.0f64..2.0, 1usize..6, limit, any::<bool>()).prop_map(
        |(request, load, threads, limit, burns)| {
            if burns {
                burner(request, u32::try_from(threads).unwrap(), limit)
            } else {
                service(request, load, threads, limit)
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_more_than_there_is_and_no_more_than_the_quota(
        cores in 1u32..5,
        groups in prop::collection::vec(any_group(), 1..8),
    ) {
        let mut kernel = Kernel::new(cores, groups);
        let mut windows = vec![(Nanos::ZERO, Nanos::ZERO); kernel.groups.len()];
        let mut total = Nanos::ZERO;
        for _ in 0..1_500 {
            let refills: Vec<_> = kernel.groups.iter().map(|g| g.bandwidth.refill).collect();
            kernel.step();
            let now: Nanos = kernel.groups.iter().map(|g| g.counters.usage).sum();
            prop_assert!(now - total <= Nanos::STEP.times(u64::from(cores)));
            total = now;
            for ((group, window), refill) in kernel.groups.iter().zip(&mut windows).zip(refills) {
                if group.bandwidth.refill != refill {
                    *window = (window.1, window.1);
                }
                window.1 = group.counters.usage;
                let quota = group.bandwidth.quota.unwrap_or(PERIOD.times(8));
                prop_assert!(window.1 - window.0 <= quota);
            }
        }
    }

    #[test]
    fn all_that_is_wanted_and_allowed_is_used(
        cores in 1u32..5,
        asked in prop::collection::vec((1u64..262_144, 0u64..5_000_000), 1..12),
    ) {
        let mut claims: Vec<_> = asked.iter().enumerate().map(|(group, (weight, asked))| Claim {
            group,
            weight: *weight,
            want: Want::default(),
            asked: Nanos::new(*asked),
            granted: None,
        }).collect();
        let there = Nanos::STEP.times(u64::from(cores));
        share(there, &mut claims);
        let asked: Nanos = claims.iter().map(|c| c.asked).sum();
        let granted: Nanos = claims.iter().filter_map(|c| c.granted).sum();
        prop_assert_eq!(granted, asked.min(there));
        // Nobody who got less than it asked for has less per weight than anybody, but for rounding.
        let level = |c: &Claim| c.granted.unwrap().get();
        for short in claims.iter().filter(|c| c.granted != Some(c.asked)) {
            for other in &claims {
                prop_assert!((level(short) + 1) * other.weight + short.weight >= level(other) * short.weight);
            }
        }
    }

    #[test]
    fn nothing_is_left_idle_while_somebody_may_run(
        cores in 1u32..5,
        groups in prop::collection::vec(any_group(), 0..6),
    ) {
        let mut groups = groups;
        groups.push(burner(100, 8, None));
        let mut kernel = Kernel::new(cores, groups);
        for _ in 0..500 {
            kernel.step();
        }
        let used: Nanos = kernel.groups.iter().map(|g| g.counters.usage).sum();
        // What a queue could not use of its share to the nanosecond, in each step.
        prop_assert!(near(used.seconds(), 0.5 * f64::from(cores)));
    }
}
