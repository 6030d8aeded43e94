//! The market's speed, on one core.
//!
//! ```text
//! market                   participants per second, and a whole cluster's plan
//! market repeat WHAT TIMES does `solve` or `plan` so often and says nothing, to be counted by valgrind
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss
)] // a tool of ours, not a part of the market
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::Duration;

use mbcas_core::annotations::Mode;
use mbcas_core::{Budget, ContainerId, Demand, MilliCpu, PodId};
use mbcas_market::pour::{Pourer, Taker};
use mbcas_market::weight::WeightCurve;
use mbcas_market::{Ledger, NodeSnapshot, NodeSupply, Observed, Policy, Usage, plan};

/// The most pods that a node has.
const PER_NODE: usize = 110;
const NODES: usize = 5_000;
const PODS: usize = 30;
const ROUNDS: usize = 21;

/// The same numbers every time (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

fn main() {
    // cargo passes --bench.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => {
            time_solve();
            time_plan();
        }
        ["repeat", "solve", times] => {
            let (nodes, mut pourer) = (solves(64), Pourer::default());
            for i in 0..times.parse::<usize>().unwrap() {
                let (amount, takers) = &nodes[i % nodes.len()];
                black_box(pourer.pour(*amount, black_box(takers)));
            }
        }
        ["repeat", "plan", times] => {
            let nodes = cluster(64);
            for i in 0..times.parse::<usize>().unwrap() {
                let (snapshot, ledger) = &nodes[i % nodes.len()];
                black_box(planned(snapshot, ledger));
            }
        }
        _ => unreachable!("market [repeat solve|plan TIMES]"),
    }
}

/// Nodes of 110 takers, of which most are full before the amount is spent.
fn solves(count: usize) -> Vec<(u64, Vec<Taker>)> {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut node = || {
        let mut taker = || Taker {
            weight: (1 + numbers.below(1_000)) * (9_500 + numbers.below(500)),
            room: 1 + numbers.below(200),
        };
        let takers: Vec<Taker> = (0..PER_NODE).map(|_| taker()).collect();
        (takers.iter().map(|t| t.room).sum::<u64>() * 3 / 5, takers)
    };
    (0..count).map(|_| node()).collect()
}

fn time_solve() {
    let (nodes, mut pourer) = (solves(1_000), Pourer::default());
    let took = median(|| {
        for (amount, takers) in &nodes {
            black_box(pourer.pour(*amount, black_box(takers)));
        }
    });
    let participants = (nodes.len() * PER_NODE) as f64;
    println!(
        "solve: {:.1} million participants/s, {:.2} us per node of {PER_NODE}",
        participants / took.as_secs_f64() / 1e6,
        took.as_secs_f64() * 1e6 / nodes.len() as f64,
    );
}

/// Nodes of 30 pods of four cores, a fifth of them with somebody greedy, and ledgers of some cycles.
fn cluster(nodes: usize) -> Vec<(NodeSnapshot, Ledger)> {
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    (0..nodes)
        .map(|node| {
            let mut snapshot = snapshot(node, &mut numbers);
            let mut ledger = Ledger::default();
            for cycle in 1..6 {
                let until = Duration::from_secs(15 * cycle);
                for observed in snapshot.participants.values_mut() {
                    let usage = observed.usage.as_mut().unwrap();
                    usage.until = until;
                }
                ledger = plan(&snapshot, &ledger, &Policy::default(), until).ledger;
            }
            (snapshot, ledger)
        })
        .collect()
}

fn snapshot(node: usize, numbers: &mut Numbers) -> NodeSnapshot {
    let is_full = numbers.below(5) == 0;
    let mut participant = |pod: usize| {
        let greedy = is_full && pod == 0;
        let used = if greedy {
            2_000
        } else {
            20 + numbers.below(100)
        };
        let name = format!("service-{pod}-6d4cf56db6-{node:05}");
        let pod = PodId {
            namespace: format!("team-{}", pod % 7),
            uid: format!("0f2e1a9c-5d{node:06}-{pod:04}-a1b2c3d4e5f6"),
            name,
        };
        let observed = Observed {
            request: MilliCpu::new(50 + numbers.below(100)),
            limit: Some(MilliCpu::new(4_000)),
            min_cpu: None,
            max_cpu: None,
            budget: Budget::new(1 + numbers.below(1_000)).unwrap().into(),
            is_scaled: false,
            demand: Demand::from_basis_points(numbers.below(10_001)),
            measured: None,
            usage: Some(Usage {
                cpu: MilliCpu::new(used),
                until: Duration::ZERO,
            }),
            starting: false,
            mode: Mode::Auto,
        };
        (ContainerId::new(pod, "app"), observed)
    };
    NodeSnapshot {
        node: format!("node-{node}"),
        supply: NodeSupply {
            allocatable: MilliCpu::new(4_000),
            reserve: MilliCpu::new(200),
            cores: MilliCpu::new(4_000),
            curve: Some(WeightCurve::Quadratic),
        },
        participants: (0..PODS).map(&mut participant).collect(),
        non_participants: Vec::new(),
    }
}

fn planned(snapshot: &NodeSnapshot, ledger: &Ledger) -> usize {
    let now = Duration::from_secs(90);
    plan(black_box(snapshot), ledger, &Policy::default(), now)
        .writes
        .len()
}

fn time_plan() {
    let nodes = cluster(NODES);
    let took = median(|| {
        let writes: usize = nodes
            .iter()
            .map(|(snapshot, ledger)| planned(snapshot, ledger))
            .sum();
        black_box(writes);
    });
    println!(
        "plan: {:.1} ms for {NODES} nodes of {PODS} pods, {:.0} ns per pod",
        took.as_secs_f64() * 1e3,
        took.as_secs_f64() * 1e9 / (NODES * PODS) as f64,
    );
}

/// What this thread has had of its core.
fn cpu_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        spent.tv_sec.unsigned_abs(),
        spent.tv_nsec.unsigned_abs().try_into().unwrap(),
    )
}

/// The median of rounds; what else the machine does shows in the others.
fn median(mut round: impl FnMut()) -> Duration {
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = cpu_time();
            round();
            cpu_time().saturating_sub(start)
        })
        .collect();
    rounds.sort();
    rounds[ROUNDS / 2]
}
