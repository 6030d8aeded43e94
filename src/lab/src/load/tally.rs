//! What became of the requests to one target.

use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};
use serde::{Deserialize, Serialize};

use super::target::Target;

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Status 200 came in time, after this long.
    Answered(Duration),
    /// Another status, or the connection broke.
    Failed,
    /// Nothing whole came in time.
    TimedOut,
    /// It was not sent: too many were under way.
    Dropped,
}

/// The figures of one target so far.
#[derive(Debug)]
pub(super) struct Tally {
    timeout: Duration,
    slo: Duration,
    ok: u64,
    timeouts: u64,
    errors: u64,
    dropped: u64,
    slow: u64,
    latency: Histogram<u64>,
    lag: Histogram<u64>,
}

/// The figures of one target at the end. Percentiles are absent where nothing was counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The target's name.
    pub name: String,
    /// Requests per second that were asked for.
    pub rate: f64,
    /// Seconds that counted.
    pub seconds: f64,
    /// Requests that were sent: `ok + timeouts + errors`.
    pub sent: u64,
    /// Answered with 200 in time.
    pub ok: u64,
    /// Not answered in time.
    pub timeouts: u64,
    /// Answered otherwise, or broken off.
    pub errors: u64,
    /// Due but not sent, because too many were under way.
    pub dropped: u64,
    /// Median latency in milliseconds. Like the other percentiles it counts from when
    /// a request was due, over all that were due: what got no good answer counts as the whole time-out.
    pub p50_ms: Option<f64>,
    /// 95th percentile, in milliseconds.
    pub p95_ms: Option<f64>,
    /// 99th percentile, in milliseconds.
    pub p99_ms: Option<f64>,
    /// Maximum, in milliseconds.
    pub max_ms: Option<f64>,
    /// How late the generator itself sent, 99th percentile, in milliseconds: where this is not small the machine was too busy to measure.
    pub lag_p99_ms: Option<f64>,
    /// The latency that counts as kept, in milliseconds.
    pub slo_ms: u64,
    /// Requests that were due and not answered well within it: slow, timed out, failed or dropped.
    pub violations: u64,
    /// `violations` of all that were due, 0 to 1; 0 where none was.
    pub violation_share: f64,
}

impl Tally {
    pub(super) fn new(timeout_ms: u64, slo_ms: u64) -> Result<Self, CreationError> {
        // Microseconds to three digits, up to a minute, which no time-out exceeds.
        let histogram = Histogram::new_with_bounds(1, 60_000_000, 3)?;
        Ok(Self {
            timeout: Duration::from_millis(timeout_ms),
            slo: Duration::from_millis(slo_ms),
            ok: 0,
            timeouts: 0,
            errors: 0,
            dropped: 0,
            slow: 0,
            lag: histogram.clone(),
            latency: histogram,
        })
    }

    pub(super) fn count(&mut self, outcome: Outcome) {
        let latency = match outcome {
            Outcome::Answered(latency) => {
                self.ok += 1;
                self.slow += u64::from(latency > self.slo);
                latency
            }
            Outcome::Failed | Outcome::TimedOut | Outcome::Dropped => {
                match outcome {
                    Outcome::Failed => self.errors += 1,
                    Outcome::TimedOut => self.timeouts += 1,
                    _ => self.dropped += 1,
                }
                self.timeout
            }
        };
        self.latency.saturating_record(micros(latency));
    }

    pub(super) fn lag(&mut self, lag: Duration) {
        self.lag.saturating_record(micros(lag));
    }

    pub(super) fn progress(&self) -> String {
        let p95 = percentile(&self.latency, 0.95)
            .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0} ms"));
        let bad = self.timeouts + self.errors + self.dropped;
        format!("ok {} bad {bad} p95 {p95}", self.ok)
    }

    #[allow(clippy::cast_precision_loss)] // counts of an hour at 2000/s are far below 2^52
    pub(super) fn report(&self, target: &Target, counted: Duration) -> Report {
        let sent = self.ok + self.timeouts + self.errors;
        let violations = self.slow + self.timeouts + self.errors + self.dropped;
        let due = sent + self.dropped;
        Report {
            name: target.name.clone(),
            rate: target.rate,
            seconds: counted.as_secs_f64(),
            sent,
            ok: self.ok,
            timeouts: self.timeouts,
            errors: self.errors,
            dropped: self.dropped,
            p50_ms: percentile(&self.latency, 0.5),
            p95_ms: percentile(&self.latency, 0.95),
            p99_ms: percentile(&self.latency, 0.99),
            max_ms: percentile(&self.latency, 1.0),
            lag_p99_ms: percentile(&self.lag, 0.99),
            slo_ms: u64::try_from(self.slo.as_millis()).unwrap_or(u64::MAX),
            violations,
            violation_share: if due == 0 {
                0.0
            } else {
                violations as f64 / due as f64
            },
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// In milliseconds.
#[allow(clippy::cast_precision_loss)] // at most 60,000,000
fn percentile(histogram: &Histogram<u64>, share: f64) -> Option<f64> {
    (!histogram.is_empty()).then(|| histogram.value_at_quantile(share) as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcomes: &[Outcome]) -> Report {
        let mut tally = Tally::new(2000, 100).unwrap();
        for outcome in outcomes {
            tally.count(*outcome);
        }
        let target = "web=http://127.0.0.1:80/@10".parse().unwrap();
        tally.report(&target, Duration::from_mins(1))
    }

    fn answered(ms: u64) -> Outcome {
        Outcome::Answered(Duration::from_millis(ms))
    }

    #[test]
    fn nothing_counted_is_nothing_claimed() {
        let report = report(&[]);
        assert_eq!(
            (report.p50_ms, report.max_ms, report.violations),
            (None, None, 0)
        );
        assert!(report.violation_share.abs() < 1e-9);
    }

    #[test]
    fn all_that_is_not_a_good_answer_in_time_is_a_violation() {
        let outcomes = [
            answered(10),
            answered(100),
            answered(101),
            Outcome::Failed,
            Outcome::TimedOut,
            Outcome::Dropped,
        ];
        let report = report(&outcomes);
        assert_eq!(
            (
                report.sent,
                report.ok,
                report.errors,
                report.timeouts,
                report.dropped
            ),
            (5, 3, 1, 1, 1)
        );
        assert_eq!(report.violations, 4);
        assert!((report.violation_share - 4.0 / 6.0).abs() < 1e-9);
    }

    #[test]
    fn what_got_no_answer_is_as_slow_as_the_timeout() {
        let mut outcomes = vec![answered(10); 94];
        outcomes.extend([
            Outcome::TimedOut,
            Outcome::Failed,
            Outcome::Dropped,
            answered(20),
            answered(20),
            answered(20),
        ]);
        let report = report(&outcomes);
        let near = |value: Option<f64>, expected: f64| {
            (value.unwrap() - expected).abs() < expected / 500.0
        };
        assert!(
            near(report.p50_ms, 10.0) && near(report.p95_ms, 20.0),
            "{report:?}"
        );
        assert!(
            near(report.p99_ms, 2000.0) && near(report.max_ms, 2000.0),
            "{report:?}"
        );
    }

    #[test]
    fn a_report_survives_json() {
        let report = report(&[answered(10), Outcome::Dropped]);
        let text = serde_json::to_string(&report).unwrap();
        assert!(
            text.starts_with("{\"name\":\"web\",\"rate\":10.0,"),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
