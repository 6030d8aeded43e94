//! Open-loop load: requests are sent when they are due, whether or not earlier ones have been answered.
//!
//! Arrivals are a Poisson process. A latency counts from the moment when the
//! request was *due*, not from when the generator got round to it, so that a
//! server which stalls cannot hide the requests that it kept from being sent
//! (coordinated omission). What got no good answer counts in the percentiles as
//! having taken the whole time-out.
//!
//! Load goes to addresses of this machine's own networks only: loopback, private
//! and carrier-grade NAT ranges, written as IP addresses. See [`target`].

pub mod target;

mod client;
mod tally;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;

pub use tally::Report;
use tally::{Outcome, Tally};
use target::{MOST_RATE, Target};

/// The longest run, in seconds, warm-up included.
pub const MOST_SECONDS: u64 = 3600;

/// Time between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Sends load and prints one line of JSON per target at the end. Ends early, with the figures so far, on SIGTERM.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// A target and its requests per second; repeatable.
    #[arg(
        long = "target",
        required = true,
        value_name = "NAME=http://IP:PORT/PATH@RATE"
    )]
    pub targets: Vec<Target>,
    /// Seconds that count.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=MOST_SECONDS))]
    pub seconds: u64,
    /// Seconds before, under the same load, that do not count.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=MOST_SECONDS))]
    pub warmup: u64,
    /// Time-out of a request in milliseconds, from when it was due.
    #[arg(long = "timeout", default_value_t = 2000, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub timeout_ms: u64,
    /// Latency in milliseconds that an answer must not exceed.
    #[arg(long, default_value_t = 100, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub slo_ms: u64,
    /// Requests that may be under way per target; those beyond are dropped and counted.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub in_flight: u32,
    /// Seed of the arrivals: the same seed sends the same requests at the same moments.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Why no load was sent.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Two targets have one name.
    #[error("two targets are called {0}; give each a name of its own")]
    SameName(String),
    /// The targets' rates add up to too much.
    #[error("the rates add up to {0:.0} requests per second; the most is {MOST_RATE}")]
    Rate(f64),
    /// The run is too long.
    #[error("--warmup and --seconds add up to {0}; the most is {MOST_SECONDS}")]
    Time(u64),
    /// The figures cannot be kept: a fault of this program.
    #[error("cannot make a histogram: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
    /// A report cannot be written: a fault of this program.
    #[error("cannot write the report: {0}")]
    Report(#[from] serde_json::Error),
    /// The generator's own task failed: a fault of this program.
    #[error("a generator failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// [`run`], and a line of JSON on standard output for each target.
///
/// # Errors
/// As [`run`].
#[allow(clippy::print_stdout)] // this is the command's answer
pub async fn run_and_print(args: Args, token: CancellationToken) -> Result<(), LoadError> {
    for report in run(args, token).await? {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(())
}

/// Sends the load and gives the figures of each target, in the order given.
/// When `token` is cancelled it ends early and the figures are those of the time so far.
///
/// # Errors
/// [`LoadError`] for arguments that go beyond the bounds together.
pub async fn run(args: Args, token: CancellationToken) -> Result<Vec<Report>, LoadError> {
    check(&args)?;
    let begin = Instant::now();
    let mut tallies = Vec::new();
    let mut generators = JoinSet::new();
    for (index, target) in (0_u64..).zip(&args.targets) {
        let tally = Arc::new(Mutex::new(Tally::new(args.timeout_ms, args.slo_ms)?));
        tallies.push(Arc::clone(&tally));
        let seed = args.seed.wrapping_mul(1_000_003).wrapping_add(index);
        let generator = Generator {
            target: Arc::new(target.clone()),
            args: args.clone(),
            seed,
            begin,
            tally,
        };
        generators.spawn(generator.run(token.clone()));
    }
    let mut progress = interval_at(begin + PROGRESS_EVERY, PROGRESS_EVERY);
    progress.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            ended = generators.join_next() => match ended {
                Some(ended) => ended?,
                None => break,
            },
            _ = progress.tick() => tell_progress(&args, begin, &tallies),
        }
    }
    let warmup = Duration::from_secs(args.warmup);
    let counted = begin
        .elapsed()
        .saturating_sub(warmup)
        .min(Duration::from_secs(args.seconds));
    let reports = args.targets.iter().zip(&tallies);
    Ok(reports
        .map(|(target, tally)| held(tally).report(target, counted))
        .collect())
}

fn check(args: &Args) -> Result<(), LoadError> {
    let mut names: Vec<_> = args.targets.iter().map(|target| &target.name).collect();
    names.sort();
    if let Some([name, _]) = names.windows(2).find(|pair| pair.first() == pair.last()) {
        return Err(LoadError::SameName((*name).clone()));
    }
    let rate: f64 = args.targets.iter().map(|target| target.rate).sum();
    if rate > MOST_RATE {
        return Err(LoadError::Rate(rate));
    }
    let seconds = args.warmup.saturating_add(args.seconds);
    if seconds > MOST_SECONDS {
        return Err(LoadError::Time(seconds));
    }
    Ok(())
}

fn held(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

#[allow(clippy::print_stderr)] // progress is for whoever watches, at any log level
fn tell_progress(args: &Args, begin: Instant, tallies: &[Arc<Mutex<Tally>>]) {
    let seconds = begin.elapsed().as_secs();
    let figures: Vec<_> = args
        .targets
        .iter()
        .zip(tallies)
        .map(|(target, tally)| format!("{} {}", target.name, held(tally).progress()))
        .collect();
    let phase = if seconds < args.warmup {
        " (warming up)"
    } else {
        ""
    };
    eprintln!(
        "{seconds} s of {}{phase}: {}",
        args.warmup + args.seconds,
        figures.join("; ")
    );
}

/// Sends one target's requests when they are due.
struct Generator {
    target: Arc<Target>,
    args: Args,
    seed: u64,
    begin: Instant,
    tally: Arc<Mutex<Tally>>,
}

impl Generator {
    async fn run(self, token: CancellationToken) {
        let timeout = Duration::from_millis(self.args.timeout_ms);
        let from = self.begin + Duration::from_secs(self.args.warmup);
        let until = from + Duration::from_secs(self.args.seconds);
        let places = Arc::new(Semaphore::new(self.args.in_flight as usize));
        let mut requests = JoinSet::new();
        for due in arrivals(self.seed, self.target.rate, self.begin) {
            // Also after the last request the time that counts is waited out.
            let slept = token.run_until_cancelled(sleep_until(due.min(until))).await;
            if slept.is_none() || due >= until {
                break;
            }
            while requests.try_join_next().is_some() {}
            let counts = due >= from;
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                if counts {
                    held(&self.tally).count(Outcome::Dropped);
                }
                continue;
            };
            let (target, tally) = (Arc::clone(&self.target), Arc::clone(&self.tally));
            requests.spawn(async move {
                let lag = due.elapsed();
                let outcome = client::ask(&target, due, timeout).await;
                drop(place);
                if counts {
                    let mut tally = held(&tally);
                    tally.lag(lag);
                    tally.count(outcome);
                }
            });
        }
        while requests.join_next().await.is_some() {}
    }
}

/// The moments of a Poisson process of `rate` per second: the gaps are exponential.
fn arrivals(seed: u64, rate: f64, begin: Instant) -> impl Iterator<Item = Instant> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut due = begin;
    std::iter::from_fn(move || {
        // 1 − u is from (0, 1], so its logarithm is finite.
        let gap = -(1.0 - random.random::<f64>()).ln() / rate;
        due += Duration::from_secs_f64(gap);
        Some(due)
    })
}

#[cfg(test)]
mod tests;
