//! The newest reading, for everyone who asks, and the agent's own metrics.

use std::fmt::Display;
use std::mem::Discriminant;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mbcas_core::DemandReport;
use mbcas_core::demand::{Ewma, LABELS, METRIC};
use mbcas_core::units::Demand;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::config::Config;
use crate::signal::{Pressures, Source};

/// What is known at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Urgency, from 0 to 1, smoothed; absent where no source shows a pressure.
    pub intensity: Option<f64>,
    /// Counts readings from 1.
    pub sequence: u64,
    /// The pressures behind it.
    pub pressures: Pressures,
    /// How much CPU the application could use, in cores; absent where it cannot be seen.
    pub need: Option<f64>,
}

impl Reading {
    /// The intensity as others are told it.
    fn demand(&self) -> Option<Demand> {
        Demand::from_fraction(self.intensity?).ok()
    }
}

/// More than any demand is.
const NOBODY: u64 = u64::MAX;

/// Turns pressures into readings.
#[derive(Debug, Default)]
pub struct Smoother {
    average: Ewma,
    sequence: u64,
}

impl Smoother {
    /// The reading `elapsed` after the last look: the greatest pressure counts. Without any the
    /// intensity is not known, and what it was stands still.
    pub fn read(&mut self, pressures: Pressures, need: Option<f64>, elapsed: Duration) -> Reading {
        let pressure = pressures.breakdown().greatest();
        self.sequence = self.sequence.saturating_add(1);
        let smoothed = |pressure| self.average.update(pressure, elapsed).clamp(0.0, 1.0);
        Reading {
            intensity: pressure.map(smoothed),
            sequence: self.sequence,
            pressures,
            need,
        }
    }
}

/// The log takes so many lines about one source at once,
const LINES: usize = 4;

/// and no more in this time.
const ENOUGH: Duration = Duration::from_mins(4);

/// So long the log says nothing of a failure that is of the same kind as the one that it told of.
const MINUTE: Duration = Duration::from_mins(1);

/// Remembers whether a source works, and what the log says of it: a change is logged once and not at every
/// look, and a source that comes and goes a few times and not for ever. What was left out is made up for as
/// soon as there may be a line again.
#[derive(Debug)]
pub struct Watch<E> {
    source: Source,
    samples: IntCounter,
    errors: IntCounter,
    fails: bool,
    /// The failure that the log told of last, unless it said since that the source is back.
    said: Option<(Discriminant<E>, String)>,
    /// When that was compared with what fails now.
    compared: Option<Instant>,
    /// When the last lines were written, the oldest first.
    told: [Option<Instant>; LINES],
}

impl<E: Display> Watch<E> {
    /// Begins with a source that works.
    pub fn new(source: Source, board: &Board) -> Self {
        let name = [source.name()];
        Self {
            source,
            samples: board.samples.with_label_values(&name),
            errors: board.errors.with_label_values(&name),
            fails: false,
            said: None,
            compared: None,
            told: [None; LINES],
        }
    }

    /// Whether it did not work the last time.
    pub const fn fails(&self) -> bool {
        self.fails
    }

    /// Counts an outcome on the board, and logs it if it is another one than the log says.
    pub fn note<T>(&mut self, outcome: Result<T, E>) -> Option<T> {
        self.samples.inc();
        self.fails = outcome.is_err();
        match outcome {
            Ok(value) => {
                if self.said.is_some() && self.may_tell() {
                    self.said = None;
                    info!(source = self.source.name(), "the signal is back");
                }
                Some(value)
            }
            Err(why) => {
                self.errors.inc();
                self.note_failure(&why);
                None
            }
        }
    }

    fn note_failure(&mut self, why: &E) {
        let kind = std::mem::discriminant(why);
        if let Some((said, words)) = &self.said
            && *said == kind
        {
            // Words are put together for this alone, so not at every sample.
            let is_due = self.compared.is_none_or(|at| at.elapsed() >= MINUTE);
            if !is_due {
                return;
            }
            self.compared = Some(Instant::now());
            if *words == why.to_string() {
                return;
            }
        }
        if self.may_tell() {
            warn!(source = self.source.name(), "{why}");
            self.said = Some((kind, why.to_string()));
            self.compared = Some(Instant::now());
        }
    }

    /// Whether there may be one more line, which then is taken for written.
    fn may_tell(&mut self) -> bool {
        let [oldest, ..] = self.told;
        let may = oldest.is_none_or(|at| at.elapsed() >= ENOUGH);
        if may {
            self.told.rotate_left(1);
            self.told[LINES - 1] = Some(Instant::now());
        }
        may
    }
}

/// What the agent knows and serves.
#[derive(Debug)]
pub struct Board {
    /// What it was told.
    pub config: Config,
    reading: watch::Sender<Option<(Reading, Instant)>>,
    /// The lowest intensity that somebody may be waiting for, in basis points.
    awaited: AtomicU64,
    asking: AtomicBool,
    registry: Registry,
    intensity: GaugeVec,
    pressure: GaugeVec,
    need: GaugeVec,
    node: GaugeVec,
    samples: IntCounterVec,
    errors: IntCounterVec,
}

impl Board {
    /// An empty board.
    ///
    /// # Errors
    /// None in practice: names and labels of the metrics are constants, and a test makes one.
    pub fn new(config: Config) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let urgency = "How badly the container needs CPU, from 0 (content) to 1, smoothed.";
        let intensity = GaugeVec::new(Opts::new(METRIC, urgency), &LABELS)?;
        let each = "The urgency that one source shows, from 0 to 1, unsmoothed.";
        let pressure = GaugeVec::new(Opts::new("mbcas_agent_pressure", each), &["source"])?;
        let could = "CPU that the application's threads used and waited for, in cores.";
        let need = GaugeVec::new(Opts::new("mbcas_agent_need_cores", could), &[])?;
        let others = "Share of the time in which something on the node waited for CPU, from 0 to 1. \
             Not about this pod, and not in its intensity.";
        let node = GaugeVec::new(Opts::new("mbcas_agent_node_pressure", others), &[])?;
        let samples = IntCounterVec::new(
            Opts::new(
                "mbcas_agent_samples_total",
                "Samples taken, failed ones among them.",
            ),
            &["source"],
        )?;
        let errors = IntCounterVec::new(
            Opts::new("mbcas_agent_sample_errors_total", "Samples that failed."),
            &["source"],
        )?;
        let faults = IntGaugeVec::new(
            Opts::new(
                "mbcas_agent_config_faults",
                "Settings that the agent could not understand.",
            ),
            &["field"],
        )?;
        let build = IntGaugeVec::new(
            Opts::new("mbcas_agent_build_info", "Always 1."),
            &["version"],
        )?;
        registry.register(Box::new(intensity.clone()))?;
        registry.register(Box::new(pressure.clone()))?;
        registry.register(Box::new(need.clone()))?;
        registry.register(Box::new(node.clone()))?;
        registry.register(Box::new(samples.clone()))?;
        registry.register(Box::new(errors.clone()))?;
        registry.register(Box::new(faults.clone()))?;
        registry.register(Box::new(build.clone()))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        for fault in &config.faults {
            faults.with_label_values(&[fault.field()]).inc();
        }
        for source in Source::ALL {
            samples.with_label_values(&[source.name()]);
            errors.with_label_values(&[source.name()]);
        }
        let reading = watch::Sender::new(None);
        Ok(Self {
            config,
            reading,
            awaited: AtomicU64::new(NOBODY),
            asking: AtomicBool::new(false),
            registry,
            intensity,
            pressure,
            need,
            node,
            samples,
            errors,
        })
    }

    /// Puts up a reading that was taken just now.
    pub fn put(&self, reading: Reading) {
        let demand = reading.demand().map(Demand::basis_points);
        self.reading.send_if_modified(|newest| {
            *newest = Some((reading, Instant::now()));
            // Nobody is woken to see that there is less than what is waited for.
            let is_awaited = demand >= Some(self.awaited.load(Ordering::Relaxed));
            if is_awaited {
                self.awaited.store(NOBODY, Ordering::Relaxed);
            }
            is_awaited
        });
    }

    /// Notes whether a question to the application may be in its accept queue.
    pub fn put_asking(&self, is_asking: bool) {
        self.asking.store(is_asking, Ordering::Relaxed);
    }

    /// Connections of the agent's own that may be in the application's accept queue.
    pub fn questions(&self) -> u64 {
        self.asking.load(Ordering::Relaxed).into()
    }

    /// Shows how short the whole node is of CPU: a share of the time, from 0 to 1.
    pub fn put_node(&self, share: Option<f64>) {
        match share {
            Some(share) => self.node.with_label_values::<&str>(&[]).set(share),
            None => self.node.reset(),
        }
    }

    /// Comes back as soon as a reading's intensity is at least `above`; for ever not, if none is.
    pub async fn rises_to(&self, above: Demand) {
        let mut readings = self.reading.subscribe();
        let is_so = || {
            let newest = *self.reading.borrow();
            newest.is_some_and(|(reading, _)| reading.demand() >= Some(above))
        };
        while !is_so() {
            // What is put up after the first line wakes, or is awaited, or is seen.
            readings.mark_unchanged();
            let above = above.basis_points();
            self.awaited.fetch_min(above, Ordering::Relaxed);
            if is_so() {
                return;
            }
            // It cannot fail: the board keeps the sender.
            let _ = readings.changed().await;
        }
    }

    /// The report as of now, or why there is none.
    ///
    /// # Errors
    /// A sentence for whoever asked.
    pub fn report(&self) -> Result<DemandReport, String> {
        self.newest().map(|(report, _)| report)
    }

    /// The same, with the reading that it tells of.
    fn newest(&self) -> Result<(DemandReport, Reading), String> {
        let Some(identity) = &self.config.identity else {
            let faults = self.config.faults.iter().map(ToString::to_string);
            return Err(faults.collect::<Vec<_>>().join("\n"));
        };
        let Some((reading, at)) = *self.reading.borrow() else {
            return Err("no sample was taken yet".to_owned());
        };
        let report = DemandReport {
            namespace: identity.namespace.clone(),
            pod: identity.pod.clone(),
            container: identity.container.clone(),
            demand_intensity: reading.intensity,
            sequence: reading.sequence,
            age_ms: u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX),
            need_millicores: reading.need.map(millicores),
            breakdown: reading.pressures.breakdown(),
        };
        Ok((report, reading))
    }

    /// The metrics as of now. A reading that is too old to rely on is not among
    /// them: a gauge has no age, so it would pass for a new one.
    pub fn metrics(&self) -> Registry {
        self.intensity.reset();
        self.pressure.reset();
        self.need.reset();
        if let Ok((report, reading)) = self.newest()
            && report.age_ms <= DemandReport::MAX_AGE_MS
        {
            if let Some(intensity) = report.demand_intensity {
                let labels = [&*report.namespace, &*report.pod, &*report.container];
                self.intensity.with_label_values(&labels).set(intensity);
            }
            self.show(&reading);
        }
        self.registry.clone()
    }

    fn show(&self, reading: &Reading) {
        for source in Source::ALL {
            if let Some(pressure) = reading.pressures.of(source) {
                self.pressure
                    .with_label_values(&[source.name()])
                    .set(pressure);
            }
        }
        if let Some(need) = reading.need {
            self.need.with_label_values::<&str>(&[]).set(need);
        }
    }
}

/// Whole millicores, rounded up: a need is not cut.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and is not negative
fn millicores(cores: f64) -> u64 {
    (cores * 1000.0).ceil() as u64
}

#[cfg(test)]
mod tests;
