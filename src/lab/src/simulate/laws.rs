//! What the market owes everybody, asserted over simulated hours.
//!
//! What holds of every clearing and every plan, and not over time, is a property of the
//! market's own: `src/market`, `plan/tests`, `enforce/tests`, `clear/*/tests`.

use std::time::Duration;

use super::governor::{Decision, Kind, NodeView};
use super::kubelet::Measures;
use super::node;
use super::outcome::{Outcome, PodOutcome};
use super::pod::{PodSpec, Role};
use super::scenario::{self, Scenario, Traces};

mod steady;
mod turns;
mod writes;

/// What holds of one alone may hold by chance.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=8;

fn scenario(name: &str) -> Scenario {
    let traces = Traces {
        file: None,
        seed: 1,
    };
    let mut all = scenario::all(&traces).into_iter();
    all.find(|scenario| scenario.name == name).unwrap()
}

/// The scenario of that name, counted from minute `from` to minute `until`.
fn counted(name: &str, from: u64, until: u64) -> Scenario {
    Scenario {
        measure_from: Duration::from_mins(from),
        length: Duration::from_mins(until),
        ..scenario(name)
    }
}

/// By kubelets of both kinds, in turns.
fn run(scenario: &Scenario, kind: Kind, seed: u64) -> Outcome {
    let mut scenario = scenario.clone();
    scenario.machine.kubelet = Measures::by_turns(seed);
    node::run(&scenario, kind.build().as_mut(), seed, &mut |_, _| ()).unwrap()
}

/// Late requests of a pod, in percent.
#[allow(clippy::cast_precision_loss)] // thousands
fn late(pod: &PodOutcome) -> f64 {
    let share = |latency: &super::latency::Latency| latency.slow() as f64 / latency.count() as f64;
    pod.latency.as_ref().map_or(0.0, share) * 100.0
}

/// Lying gains its teller at most 5 % and costs others at most 2 %, over an hour of a full node: of CPU and of
/// requests in time by each seed, and of the mean limit over all of them. One limit may come to rest at the
/// other end of its dead-band, which brings nobody anything.
///
/// The lies are the utmost urgency always, or by turns. The other word of an agent's, a need, counts only downwards
/// and only for who is held ([`mbcas_market::need`]): who understates his has less.
fn lying_gains_nothing(truth: &str, lies: [&str; 2]) {
    let names = [truth, lies[0], lies[1]];
    let mut limits = [0.0; 3];
    for seed in SEEDS {
        let all = names.map(|name| run(&scenario(name), Kind::Market, seed));
        for (sum, outcome) in limits.iter_mut().zip(&all) {
            let own = outcome.pods.iter().filter(|pod| pod.role == Role::Focus);
            *sum += own.map(|pod| pod.limit).sum::<f64>();
        }
        let [truth, one, other] = all;
        for (lie, name) in [one, other].iter().zip(lies) {
            for (pod, (lie, truth)) in lie.pods.iter().zip(&truth.pods).enumerate() {
                let what = format!("{name}, seed {seed}, pod {pod}: {lie:?} for {truth:?}");
                if lie.role == Role::Focus {
                    assert!(lie.cpu <= truth.cpu * 1.05, "{what}");
                    assert!(late(lie) >= late(truth) * 0.95, "{what}");
                } else if lie.role == Role::Service {
                    assert!(lie.cpu >= truth.cpu * 0.98, "{what}");
                    // Two of a hundred requests.
                    assert!(late(lie) <= late(truth) + 2.0, "{what}");
                } else {
                    assert!(lie.cpu >= truth.cpu * 0.98, "{what}");
                }
            }
        }
    }
    let [truth, one, other] = limits;
    assert!(
        one <= truth * 1.05 && other <= truth * 1.05,
        "{names:?}: {limits:?}"
    );
}

/// On a full node each of these needs less than it is entitled to, the worst 95 % of it, and has a queue as long as
/// that makes it. A queue is no need: nobody is held for it so long that more than a tenth of its requests are late.
#[test]
fn who_needs_nearly_what_it_is_entitled_to_is_not_held() {
    for seed in SEEDS.chain([12, 14, 21]) {
        let outcome = run(&scenario("liar-truth"), Kind::Market, seed);
        let services = outcome.pods.iter().filter(|pod| pod.latency.is_some());
        for (pod, outcome) in services.enumerate() {
            let late = late(outcome);
            assert!(late < 10.0, "seed {seed}, pod {pod}: {late}");
        }
    }
}

#[test]
fn lying_about_urgency_gains_nothing() {
    lying_gains_nothing("liar-truth", ["liar-shouts", "liar-toggles"]);
}

#[test]
fn greed_that_lies_gains_nothing() {
    lying_gains_nothing("greedy-truth", ["greedy-shouts", "greedy-toggles"]);
}

/// At the same floors and budgets in sum; a quantum for each part is what rounding may give, on average of the
/// seeds, as each limit rests somewhere in its dead-band.
#[test]
fn splitting_gains_nothing() {
    let tenant = |outcome: &Outcome| {
        let own = outcome.pods.iter().filter(|pod| pod.role == Role::Focus);
        own.fold((0.0, 0.0), |(cpu, limit), pod| {
            (cpu + pod.cpu, limit + pod.limit)
        })
    };
    let mean = |name: &str| {
        let (mut cpu, mut limit, mut seeds) = (0.0, 0.0, 0.0);
        for seed in SEEDS {
            let own = tenant(&run(&counted(name, 5, 20), Kind::Market, seed));
            (cpu, limit, seeds) = (cpu + own.0, limit + own.1, seeds + 1.0);
        }
        (cpu / seeds, limit / seeds)
    };
    let one = mean("split-one");
    for (name, rounding) in [("split-two-shared", 0.02), ("split-four-shared", 0.04)] {
        let many = mean(name);
        let what = format!("{name}: {many:?} for {one:?}");
        assert!(
            many.0 <= one.0 + rounding && many.1 <= one.1 + rounding,
            "{what}"
        );
    }
}

/// A neighbour that takes all it can get, has no request, and that nobody may limit.
fn stranger() -> PodSpec {
    PodSpec {
        takes_part: false,
        ..PodSpec::burner("stranger").request(0)
    }
}

/// It takes what is idle. From those who take part it takes no more than the kernel would give it without
/// MBCAS, its weight share, and a quantum of rounding, on average of the seeds; in each of them besides what limits may come to
/// rest at in their dead-band, a twentieth. By it no more than one of two hundred requests is late, on average of the seeds,
/// and two of a hundred in each, for the same reason.
#[test]
fn a_stranger_lowers_nobody() {
    for name in ["split-one", "victim-equal", "victim-wrong"] {
        let alone = counted(name, 5, 15);
        let mut beside = alone.clone();
        beside.pods.push(stranger());
        let (mut lost, mut free) = (vec![0.0; alone.pods.len()], 0.0);
        let (mut later, mut most_later) = (vec![0.0; alone.pods.len()], 0.0);
        for seed in SEEDS {
            let without_limits = run(&beside, Kind::None, seed);
            let share = without_limits.pods.last().unwrap().cpu;
            let alone = run(&alone, Kind::Market, seed);
            let beside = run(&beside, Kind::Market, seed);
            assert!(share < 0.05, "{name}: {share}");
            free += share + 0.01;
            most_later += 0.5;
            let pairs = alone.pods.iter().zip(&beside.pods);
            for ((alone, beside), (lost, later)) in pairs.zip(lost.iter_mut().zip(&mut later)) {
                let what = format!("{name}, seed {seed}: {beside:?} for {alone:?}");
                let band = alone.cpu * 0.05;
                assert!(beside.cpu >= alone.cpu - share - 0.01 - band, "{what}");
                assert!(late(beside) <= late(alone) + 2.0, "{what}");
                *lost += alone.cpu - beside.cpu;
                *later += late(beside) - late(alone);
            }
        }
        assert!(lost.iter().all(|lost| *lost <= free), "{name}: {lost:?}");
        assert!(
            later.iter().all(|later| *later <= most_later),
            "{name}: {later:?}"
        );
    }
}

/// The limits that were written for each pod after a moment, in order.
fn written(scenario: &Scenario, seed: u64, after: Duration) -> Vec<Vec<u64>> {
    let mut written = vec![Vec::new(); scenario.pods.len()];
    let mut listen = |node: &NodeView<'_>, decisions: &[Decision]| {
        for decision in decisions.iter().filter(|_| node.now >= after) {
            written[decision.pod].push(decision.limit.get());
        }
    };
    node::run(scenario, Kind::Market.build().as_mut(), seed, &mut listen).unwrap();
    written
}

/// After a step from 0.3 to 0.9 cores, with requests that are wrong: the limit of who steps never
/// goes back. The burner beside it is never held below what it is entitled to.
///
/// That is not "no overshoot": in one seed of four the burner is held up to a fifth below
/// where it ends, for a minute, because a need that cannot be seen yet is taken to be half as much again.
#[test]
fn a_step_is_followed_without_going_back() {
    let step = counted("step", 3, 9);
    for seed in 1..=4 {
        let [victim, _, burner] = written(&step, seed, step.measure_from).try_into().unwrap();
        assert!(victim.is_sorted() && !victim.is_empty(), "{victim:?}");
        // Its request of 1000m, and a tenth of the 2400m that are above all requests.
        assert!(burner.iter().all(|limit| *limit >= 1_240), "{burner:?}");
        let (least, end) = (burner.iter().min().unwrap(), burner.last().unwrap());
        assert!(*least * 4 >= *end * 3, "{burner:?}");
    }
}

/// The same where requests are right: no limit is written, so that none can be too much.
#[test]
fn a_step_with_the_right_request_needs_no_limit() {
    let mut step = counted("step", 3, 6);
    for (pod, request) in step.pods.iter_mut().zip([1_000, 1_000, 100]) {
        *pod = pod.clone().request(request);
    }
    let written = written(&step, 1, step.measure_from);
    assert!(written.iter().all(Vec::is_empty), "{written:?}");
}
