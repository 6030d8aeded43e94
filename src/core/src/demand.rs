//! The demand contract: the only thing that an agent may say about what its container wants.
//!
//! A *demand intensity* `d` is a number from 0 (content) to 1 (as urgent as can
//! be). It is urgency and not an amount: what the container may be given is
//! bounded by its budget, its caps and by evidence that it cannot forge.
//!
//! On the wire it has two forms, one on each path of the agent's port:
//! - `/metrics`: the gauge [`METRIC`] with exactly the labels [`LABELS`];
//! - `/demand`: one [`DemandReport`] as JSON; asked with a [`LongPoll`], when the
//!   intensity has risen so far.
//!
//! Signals become pressures by [`queue_pressure`] (of a [`StandingQueue`]), [`latency_pressure`],
//! [`throttling_pressure`] and [`waiting_pressure`]; an [`Ewma`] of the greatest is the intensity.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::units::Demand;

mod queue;

pub use queue::{QUEUE_HALF, StandingQueue, queue_pressure};

/// The Prometheus gauge that carries the intensity.
pub const METRIC: &str = "mbcas_demand_intensity";

/// The labels that every sample of [`METRIC`] carries, in this order.
pub const LABELS: [&str; 3] = ["namespace", "pod", "container"];

/// The port on which an agent serves `/metrics` and `/demand`.
pub const AGENT_PORT: u16 = 9465;

/// The most that a reader takes of a report, in bytes. A real one has some 200.
pub const MAX_REPORT_BYTES: usize = 4096;

/// The longest that an agent lets a [`LongPoll`] wait, in seconds.
pub const LONGEST_WAIT: u64 = 25;

/// The query by which a reader of `/demand` hears of a jump as it happens:
/// `?above=0.67&wait=15`. The agent answers when the intensity is at least so high, or
/// when the time is over, with a report as always. Without `above` it answers at once, and
/// so does an agent that does not know the query: a reader takes an early answer for that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LongPoll {
    /// The intensity to wait for, from 0 to 1.
    #[serde(default)]
    pub above: Option<f64>,
    /// For how long, in seconds; at most, and without it, [`LONGEST_WAIT`].
    #[serde(default)]
    pub wait: Option<u64>,
}

impl LongPoll {
    /// What is waited for and for how long; nothing if it is not to be waited.
    ///
    /// # Errors
    /// [`DemandError`](crate::units::DemandError) if `above` is no intensity.
    pub fn terms(self) -> Result<Option<(Demand, Duration)>, crate::units::DemandError> {
        let wait = self.wait.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
        let above = self.above.map(Demand::from_fraction).transpose()?;
        Ok(above.map(|above| (above, Duration::from_secs(wait))))
    }
}

/// How fast an intensity may rise: half of the way in this time.
pub const HALF_LIFE_UP: Duration = Duration::from_secs(1);

/// How fast it falls: half of the way in this time. Slower than it rises, so
/// that a burst which comes in waves reads as one.
pub const HALF_LIFE_DOWN: Duration = Duration::from_secs(10);

/// What an agent says, as JSON on `/demand`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DemandReport {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The container that the report is about.
    pub container: String,
    /// Urgency, from 0 to 1, smoothed. Null where nothing that the agent can see tells: none of its
    /// sources has a pressure, as no TCP socket of the pod's listens. That is not 0, which says "content".
    #[serde(deserialize_with = "Option::deserialize")] // the field itself must be there
    pub demand_intensity: Option<f64>,
    /// Counts samples since the agent started, for people.
    pub sequence: u64,
    /// Age of the newest sample in milliseconds when the report was written.
    pub age_ms: u64,
    /// How much CPU the container's threads used and waited for, in millicores: what it could use.
    /// Absent where the agent cannot see them. The market takes it for no more than evidence allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub need_millicores: Option<u64>,
    /// The pressures behind the intensity.
    #[serde(default)]
    pub breakdown: Breakdown,
}

/// The pressures behind one intensity, by what causes them: for people who ask why. Each is
/// from 0 to 1; one without a source is absent and never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Breakdown {
    /// Requests that take longer than the pod's objective (`mbcas.slo`), by [`latency_pressure`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<f64>,
    /// Requests that wait: in sockets, or in the application by its own word; by [`queue_pressure`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<f64>,
    /// Periods in which the container's own limit stopped it, by [`throttling_pressure`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttling: Option<f64>,
    /// Time that its threads could run and did not, by [`waiting_pressure`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<f64>,
}

impl Breakdown {
    /// The greatest pressure, which is what counts: one cause is enough. None without any.
    pub fn greatest(&self) -> Option<f64> {
        let Self {
            latency,
            queue,
            throttling,
            waiting,
        } = *self;
        let all = [latency, queue, throttling, waiting];
        all.into_iter().flatten().reduce(f64::max)
    }
}

/// Why a report was not taken.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The body is larger than any report is.
    #[error("the report has more than {MAX_REPORT_BYTES} bytes")]
    TooLarge,
    /// The body is not a report.
    #[error("the report is not readable: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The intensity is not one.
    #[error("the report's intensity is refused: {0}")]
    Intensity(#[from] crate::units::DemandError),
    /// It is about somebody else.
    #[error("the report is about {0}, not about the container that was asked for")]
    WrongSubject(String),
    /// The newest sample is older than a reader may rely on.
    #[error("the report's newest sample is {0} ms old")]
    Stale(u64),
}

impl DemandReport {
    /// Age above which a sample says nothing about now, in milliseconds: three
    /// control cycles.
    pub const MAX_AGE_MS: u64 = 45_000;

    /// Reads a report strictly and checks that it is about `namespace`/`pod`/`container`. The
    /// demand is absent where its agent sees nothing that tells.
    ///
    /// # Errors
    /// [`ReportError`] for anything that is not a fresh, well-formed report about that container.
    pub fn parse(
        body: &[u8],
        namespace: &str,
        pod: &str,
        container: &str,
    ) -> Result<(Self, Option<Demand>), ReportError> {
        if body.len() > MAX_REPORT_BYTES {
            return Err(ReportError::TooLarge);
        }
        let report: Self = serde_json::from_slice(body)?;
        if (
            report.namespace.as_str(),
            report.pod.as_str(),
            report.container.as_str(),
        ) != (namespace, pod, container)
        {
            let subject = format!("{}/{}/{}", report.namespace, report.pod, report.container);
            return Err(ReportError::WrongSubject(
                subject.chars().take(80).collect(),
            ));
        }
        if report.age_ms > Self::MAX_AGE_MS {
            return Err(ReportError::Stale(report.age_ms));
        }
        let demand = report
            .demand_intensity
            .map(Demand::from_fraction)
            .transpose()?;
        Ok((report, demand))
    }
}

/// Urgency of requests that take `seconds` where the objective is `objective`: 0 up to seven
/// tenths of it, 1 from 1.3 times, and evenly between (research of the mechanism, §3.2).
///
/// ```
/// use mbcas_core::demand::latency_pressure;
/// assert_eq!(latency_pressure(0.05, 0.1), 0.0);
/// assert!((latency_pressure(0.1, 0.1) - 0.5).abs() < 1e-9);
/// assert_eq!(latency_pressure(0.2, 0.1), 1.0);
/// ```
pub fn latency_pressure(seconds: f64, objective: f64) -> f64 {
    between(seconds / objective, 0.7, 1.3)
}

/// Urgency of being stopped by a limit in this share of its periods: 0 up to eight tenths, 1 from 0.95, and
/// evenly between. Who needs more than its limit is stopped in each; a steady load of seven tenths of it, whose requests come at
/// random, in three to five of ten (simulated, `tests/steadiness.rs` of the agent; the research of the mechanism, §3.2, has 0.05
/// and 0.3, which flap).
///
/// ```
/// use mbcas_core::demand::throttling_pressure;
/// assert_eq!((throttling_pressure(0.8), throttling_pressure(0.95)), (0.0, 1.0));
/// assert!((throttling_pressure(0.875) - 0.5).abs() < 1e-9);
/// ```
pub fn throttling_pressure(share: f64) -> f64 {
    between(share, 0.8, 0.95)
}

/// Urgency of going without CPU for this share of the time: 0 up to three tenths, 1 from a half, and evenly
/// between. Two busy threads on one core go without for a half; the same simulations.
///
/// ```
/// use mbcas_core::demand::waiting_pressure;
/// assert_eq!((waiting_pressure(0.3), waiting_pressure(0.5)), (0.0, 1.0));
/// assert!((waiting_pressure(0.4) - 0.5).abs() < 1e-9);
/// ```
pub fn waiting_pressure(share: f64) -> f64 {
    between(share, 0.3, 0.5)
}

/// Where `value` lies on the way from `low` to `high`, from 0 to 1; 0 for what is no number.
fn between(value: f64, low: f64, high: f64) -> f64 {
    let way = (value - low) / (high - low);
    if way.is_nan() {
        0.0
    } else {
        way.clamp(0.0, 1.0)
    }
}

/// A moving average with its own half-life up and down, in real time: samples
/// may come late or unevenly and the result is the same.
///
/// `value += (sample − value) · (1 − 2^(−Δt / half-life))`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ewma {
    value: f64,
    up: Duration,
    down: Duration,
}

impl Ewma {
    /// Starts at zero.
    const fn new(up: Duration, down: Duration) -> Self {
        Self {
            value: 0.0,
            up,
            down,
        }
    }

    /// The average as it stands.
    pub const fn value(&self) -> f64 {
        self.value
    }

    /// Takes in `sample`, which stands for the last `elapsed`, and returns the new average.
    /// A sample that is no number from 0 to 1 is clamped into it, NaN to 0.
    pub fn update(&mut self, sample: f64, elapsed: Duration) -> f64 {
        let sample = if sample.is_nan() {
            0.0
        } else {
            sample.clamp(0.0, 1.0)
        };
        let half_life = if sample > self.value {
            self.up
        } else {
            self.down
        };
        let weight = 1.0 - (-elapsed.as_secs_f64() / half_life.as_secs_f64()).exp2();
        self.value += (sample - self.value) * weight;
        self.value
    }
}

impl Default for Ewma {
    /// The contract's own half-lives, [`HALF_LIFE_UP`] and [`HALF_LIFE_DOWN`].
    fn default() -> Self {
        Self::new(HALF_LIFE_UP, HALF_LIFE_DOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn report(intensity: &str) -> Vec<u8> {
        format!(
            r#"{{"namespace":"shop","pod":"web-1","container":"app",
                "demand_intensity":{intensity},"sequence":7,"age_ms":80}}"#
        )
        .into_bytes()
    }

    fn read(body: &[u8]) -> Result<Option<Demand>, ReportError> {
        DemandReport::parse(body, "shop", "web-1", "app").map(|(_, demand)| demand)
    }

    #[test]
    fn a_report_is_read() {
        assert_eq!(
            read(&report("0.25")).unwrap(),
            Some(Demand::from_basis_points(2_500))
        );
        assert_eq!(read(&report("1")).unwrap(), Some(Demand::FULL));
    }

    #[test]
    fn who_knows_nothing_says_so_and_not_by_saying_nothing() {
        assert_eq!(read(&report("null")).unwrap(), None);
        let silent = String::from_utf8(report("0.5"))
            .unwrap()
            .replace("demand_intensity", "demand_intensty");
        assert!(matches!(
            read(silent.as_bytes()),
            Err(ReportError::Malformed(_))
        ));
    }

    #[test]
    fn garbage_is_refused() {
        for bad in ["1.01", "-0.5", "1e400", "\"0.5\"", "NaN", "[0.1]"] {
            assert!(read(&report(bad)).is_err(), "{bad}");
        }
        assert!(matches!(
            read(&vec![b' '; MAX_REPORT_BYTES + 1]),
            Err(ReportError::TooLarge)
        ));
        assert!(matches!(read(b""), Err(ReportError::Malformed(_))));
    }

    #[test]
    fn a_report_about_somebody_else_is_refused() {
        let other = DemandReport::parse(&report("0.5"), "shop", "web-2", "app");
        assert!(matches!(other, Err(ReportError::WrongSubject(_))));
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let more = String::from_utf8(report("0.5")).unwrap().replace(
            "\"age_ms\":80",
            "\"age_ms\":80,\"mood\":\"good\",\"breakdown\":{\"cold\":1}",
        );
        assert_eq!(read(more.as_bytes()).unwrap(), Some(Demand::NEUTRAL));
    }

    #[test]
    fn a_stale_report_is_refused() {
        let old = String::from_utf8(report("0.5"))
            .unwrap()
            .replace("\"age_ms\":80", "\"age_ms\":45001");
        assert!(matches!(
            read(old.as_bytes()),
            Err(ReportError::Stale(45_001))
        ));
    }

    #[test]
    fn half_of_the_way_in_one_half_life() {
        let mut average = Ewma::default();
        assert!((average.update(1.0, HALF_LIFE_UP) - 0.5).abs() < 1e-12);
        assert!((average.update(0.0, HALF_LIFE_DOWN) - 0.25).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn the_average_stays_in_range_and_moves_towards_the_sample(
            samples in prop::collection::vec((any::<f64>(), 0u64..5_000), 1..60),
        ) {
            let mut average = Ewma::default();
            for (sample, ms) in samples {
                let before = average.value();
                let after = average.update(sample, Duration::from_millis(ms));
                prop_assert!((0.0..=1.0).contains(&after));
                let target = if sample.is_nan() { 0.0 } else { sample.clamp(0.0, 1.0) };
                prop_assert!((after - target).abs() <= (before - target).abs() + 1e-12);
            }
        }

        #[test]
        fn splitting_a_step_changes_nothing(target in 0.0f64..=1.0, a in 1u64..3_000, b in 1u64..3_000) {
            let (mut whole, mut split) = (Ewma::default(), Ewma::default());
            whole.update(target, Duration::from_millis(a + b));
            split.update(target, Duration::from_millis(a));
            split.update(target, Duration::from_millis(b));
            prop_assert!((whole.value() - split.value()).abs() < 1e-9);
        }

        #[test]
        fn pressure_grows_with_the_queue(q in 0u64..1_000_000) {
            prop_assert!(queue_pressure(q) < queue_pressure(q + 1));
        }

        #[test]
        fn a_report_survives_its_own_wire_form(d in 0.0f64..=1.0, sequence: u64, age_ms in 0u64..=45_000) {
            let sent = DemandReport {
                namespace: "n".into(), pod: "p".into(), container: "c".into(),
                demand_intensity: Some(d), sequence, age_ms,
                need_millicores: Some(sequence),
                breakdown: Breakdown { queue: Some(d), ..Breakdown::default() },
            };
            let body = serde_json::to_vec(&sent).unwrap();
            let (read, _) = DemandReport::parse(&body, "n", "p", "c").unwrap();
            prop_assert!((read.demand_intensity.unwrap() - d).abs() < 1e-12);
            prop_assert!((read.breakdown.greatest().unwrap() - d).abs() < 1e-12);
            prop_assert_eq!(read.clone(), DemandReport { demand_intensity: read.demand_intensity, breakdown: read.breakdown, ..sent });
        }
    }
}
