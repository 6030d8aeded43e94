//! One node, simulated: what becomes of latency and CPU under each way of setting limits.
//!
//! ```text
//!  load ── arrivals ── work ─┬─ kernel: weights, quotas, counters ─┬─ kubelet ─┐
//!                            └─ waiting ── agent ──────────────────────────────┤
//!                                    kernel's limits ── actuator ── governor ──┘
//! ```
//!
//! Steps of one millisecond, no clock and no chance but the seed's: the same
//! seed gives the same bits, and every governor sees the same requests. How
//! near this is to a real kernel is in `fidelity`, the tests beside it.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`kernel`] | CFS as a fluid: shares by weight, quotas per 100 ms |
//! | [`load`], [`trace`], [`work`] | what is asked of pods and how they answer |
//! | [`agent`], [`kubelet`], [`actuator`] | what is seen, how late, and how late limits hold |
//! | [`governor`] | what decides limits: the market and its rivals |
//! | [`scenario`], [`pod`] | what is simulated |
//! | [`node`] | all of it together |
//! | [`outcome`], [`latency`], [`welfare`], [`report`] | what came of it |

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mbcas_market::weight::WeightCurve;
use thiserror::Error;

use governor::{Decision, Kind, NodeView};
use kubelet::Measures;
use outcome::Outcome;
use report::Summary;
use scenario::{Scenario, Traces};

pub mod actuator;
pub mod agent;
#[cfg(test)]
mod fidelity;
pub mod governor;
pub mod kernel;
pub mod kubelet;
pub mod latency;
#[cfg(test)]
mod laws;
pub mod load;
pub mod node;
pub mod outcome;
pub mod pod;
pub mod report;
pub mod scenario;
pub mod time;
pub mod trace;
pub mod welfare;
pub mod work;

/// Simulates a node under each way of setting limits, and prints what came of it.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// What to simulate: "all" but days, a family like "victim", or one like "victim-wrong".
    #[arg(long, default_value = "all")]
    pub scenario: String,
    /// Who sets limits; without it, each in turn.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub governor: Vec<Kind>,
    /// Seeds, counted from 1; their requests are taken together.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub seeds: u64,
    /// Minutes to simulate, instead of each scenario's own.
    #[arg(long, value_parser = clap::value_parser!(u64).range(3..=1_440))]
    pub minutes: Option<u64>,
    /// A trace for the scenarios that follow one: a whole number per line, a line per second. Without it one is made up.
    #[arg(long)]
    pub trace: Option<PathBuf>,
    /// How the node makes weights of requests: shares (cgroup v1), or by cgroup v2 linear or quadratic.
    #[arg(long, default_value = "shares")]
    pub curve: WeightCurve,
    /// The market is not told which curve the node has.
    #[arg(long)]
    pub curve_unknown: bool,
    /// When the node's kubelet measures usage.
    #[arg(long, value_enum, default_value_t)]
    pub kubelet: Measures,
    /// Prints a table of each budget for itself, too.
    #[arg(long)]
    pub by_budget: bool,
    /// Prints every decision, with what the governor saw, instead of tables.
    #[arg(long)]
    pub explain: bool,
}

/// Why nothing is simulated.
#[derive(Debug, Error)]
pub enum SimulateError {
    /// There is no such scenario.
    #[error("there is no scenario {asked:?}; there are: all, {known}")]
    UnknownScenario {
        /// What was asked for.
        asked: String,
        /// What there is.
        known: String,
    },
    /// The trace cannot be used.
    #[error(transparent)]
    Trace(#[from] trace::TraceError),
    /// A histogram could not be made.
    #[error("cannot count latencies: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
}

/// Simulates what `args` ask for and prints the tables.
///
/// # Errors
/// [`SimulateError`].
#[allow(clippy::print_stdout)] // this is the command's answer
pub fn run(args: &Args) -> Result<(), SimulateError> {
    if args.explain {
        return explain(args);
    }
    let summaries = simulate(args)?;
    println!("{}", report::table(&summaries));
    println!(
        "Latencies of the focus from arrival to answer; what has no answer counts with its age. late: share of requests \
         over 100 ms, by budget.\nneighbour: its CPU. Writes and reversals per hour and pod. well after: where something \
         changed, seconds from then until no second had more than a fifth of late requests."
    );
    if args.by_budget {
        println!("\nBy budget\n{}", report::budgets(&summaries));
    }
    if let Some(savings) = report::savings(&summaries) {
        println!(
            "\nWelfare, and the writes it took, against every limit set to its grant in each cycle\n{savings}"
        );
    }
    if let Some(gains) = report::gains(&summaries) {
        println!("\nAgainst the same without the lie, or as one pod\n{gains}");
    }
    Ok(())
}

/// Simulates what `args` ask for: scenarios in their order, under each governor.
///
/// # Errors
/// [`SimulateError`].
pub fn simulate(args: &Args) -> Result<Vec<Summary>, SimulateError> {
    let file = args.trace.as_deref().map(trace::read).transpose()?;
    let kinds = kinds(args);
    let mut jobs = Vec::new();
    for seed in 1..=args.seeds {
        let file = file.clone();
        for (place, scenario) in meant(args, &Traces { file, seed })?.into_iter().enumerate() {
            jobs.extend(
                kinds
                    .iter()
                    .map(|kind| (place, scenario.clone(), *kind, seed)),
            );
        }
    }
    // Seeds of one scenario and governor next to each other.
    jobs.sort_by_key(|(place, _, kind, seed)| {
        (*place, kinds.iter().position(|k| k == kind), *seed)
    });
    let jobs: Vec<_> = jobs
        .into_iter()
        .map(|(_, s, kind, seed)| (s, kind, seed))
        .collect();
    let outcomes = on_all_cores(&jobs)?;
    let mut summaries: Vec<Summary> = Vec::new();
    for ((scenario, kind, seed), outcome) in jobs.into_iter().zip(outcomes) {
        match summaries.last_mut() {
            Some(last) if seed > 1 => last.outcomes.push(outcome),
            _ => summaries.push(Summary {
                scenario: scenario.name,
                governor: kind.build().name(),
                against: scenario.against,
                has_turn: scenario.has_turn,
                outcomes: vec![outcome],
            }),
        }
    }
    Ok(summaries)
}

/// Prints what governors see and decide, for the first seed.
#[allow(clippy::print_stdout)] // this is the command's answer
fn explain(args: &Args) -> Result<(), SimulateError> {
    let file = args.trace.as_deref().map(trace::read).transpose()?;
    for scenario in meant(args, &Traces { file, seed: 1 })? {
        for kind in kinds(args) {
            let mut governor = kind.build();
            println!("{} under {}", scenario.name, governor.name());
            let mut print = |node: &NodeView<'_>, decisions: &[Decision]| {
                println!("{}", report::decision(node, decisions));
            };
            node::run(&scenario, governor.as_mut(), 1, &mut print)?;
        }
    }
    Ok(())
}

fn kinds(args: &Args) -> &[Kind] {
    if args.governor.is_empty() {
        <Kind as clap::ValueEnum>::value_variants()
    } else {
        &args.governor
    }
}

fn meant(args: &Args, traces: &Traces) -> Result<Vec<Scenario>, SimulateError> {
    let all = scenario::all(traces);
    let known: Vec<_> = all.iter().map(|scenario| scenario.name.clone()).collect();
    let mut meant: Vec<_> = all
        .into_iter()
        .filter(|scenario| scenario.is_meant_by(&args.scenario))
        .collect();
    if meant.is_empty() {
        return Err(SimulateError::UnknownScenario {
            asked: args.scenario.clone(),
            known: known.join(", "),
        });
    }
    for scenario in &mut meant {
        scenario.machine.curve = args.curve;
        scenario.machine.is_curve_known = !args.curve_unknown;
        scenario.machine.kubelet = args.kubelet;
        if let Some(minutes) = args.minutes {
            let least = scenario.measure_from + Duration::from_mins(1);
            scenario.length = Duration::from_mins(minutes).max(least);
        }
    }
    Ok(meant)
}

/// Runs all jobs, as many at a time as there are cores; outcomes in the jobs' order.
fn on_all_cores(jobs: &[(Scenario, Kind, u64)]) -> Result<Vec<Outcome>, SimulateError> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(jobs.len()) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some((scenario, kind, seed)) = jobs.get(place) else {
                        break;
                    };
                    let outcome = node::run(scenario, kind.build().as_mut(), *seed, &mut |_, _| ());
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((place, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    let outcomes: Result<Vec<_>, _> = done.into_iter().map(|(_, outcome)| outcome).collect();
    Ok(outcomes?)
}
