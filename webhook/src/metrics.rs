//! What the webhook counts.

use std::time::{Duration, SystemTime};

use mbcas_certs::Validity;
use prometheus::core::Collector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Bounds in seconds. The server alone answers in well under a millisecond and
/// has two seconds at the most, so that is where the resolution is.
const BUCKETS: [f64; 12] = [
    0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0,
];

/// Why a request got no review as an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The body is longer than any review.
    TooLarge,
    /// The body is not JSON by its own word.
    ContentType,
    /// The body is no review.
    Malformed,
    /// The body did not arrive in time.
    Slow,
    /// The body ended before its end.
    Broken,
    /// There is no room for the body, or its answer would come too late.
    Overloaded,
    /// The answer was not found, by a fault of ours.
    Panicked,
}

impl Failure {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::ContentType => "content_type",
            Self::Malformed => "bad_request",
            Self::Slow => "slow",
            Self::Broken => "broken",
            Self::Overloaded => "overloaded",
            Self::Panicked => "panic",
        }
    }
}

/// Why a connection was closed from our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// There was no place for it.
    Refused,
    /// Its place was needed.
    Crowded,
    /// It took the most memory when there was too little.
    Greedy,
    /// It never asked anything.
    Silent,
    /// It has not asked anything for long.
    Idle,
}

impl Farewell {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Crowded => "crowded",
            Self::Greedy => "greedy",
            Self::Silent => "silent",
            Self::Idle => "idle",
        }
    }
}

/// The webhook's series. Labels come from closed sets, never from a review.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    connections: IntGauge,
    closed: IntCounterVec,
    not_after: IntGaugeVec,
    certificate_events: IntCounterVec,
}

impl Metrics {
    /// Registers the series.
    ///
    /// # Errors
    /// If `registry` has series of these names already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = Opts::new(
            "mbcas_admission_requests_total",
            "Admission requests, by path, decision and its reason.",
        );
        let duration = HistogramOpts::new(
            "mbcas_admission_duration_seconds",
            "Time from a request's head to its answer, TLS excluded.",
        );
        let connections = Opts::new(
            "mbcas_admission_connections",
            "Connections that are open on the admission port.",
        );
        let closed = Opts::new(
            "mbcas_admission_connections_closed_total",
            "Connections that the webhook closed, by reason.",
        );
        let not_after = Opts::new(
            "mbcas_webhook_cert_not_after_seconds",
            "End of a certificate's validity, in seconds since 1970.",
        );
        let certificate_events = Opts::new(
            "mbcas_webhook_cert_events_total",
            "What happened to the webhook's certificates, by event.",
        );
        let duration = HistogramVec::new(duration.buckets(BUCKETS.to_vec()), &["path"])?;
        Ok(Self {
            requests: on(
                registry,
                IntCounterVec::new(requests, &["path", "decision", "reason"])?,
            )?,
            duration: on(registry, duration)?,
            connections: on(registry, IntGauge::with_opts(connections)?)?,
            closed: on(registry, IntCounterVec::new(closed, &["reason"])?)?,
            not_after: on(registry, IntGaugeVec::new(not_after, &["kind"])?)?,
            certificate_events: on(
                registry,
                IntCounterVec::new(certificate_events, &["event"])?,
            )?,
        })
    }

    /// Counts a request that was decided.
    pub fn decided(
        &self,
        path: &'static str,
        decision: &'static str,
        reason: &'static str,
        took: Duration,
    ) {
        self.requests
            .with_label_values(&[path, decision, reason])
            .inc();
        self.duration
            .with_label_values(&[path])
            .observe(took.as_secs_f64());
    }

    /// Counts a request that was not.
    pub fn failed(&self, path: &'static str, failure: Failure) {
        self.requests
            .with_label_values(&[path, "error", failure.as_str()])
            .inc();
    }

    /// Notes how many connections there are.
    pub fn connections(&self, open: usize) {
        self.connections
            .set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// Counts a connection that was closed from our side.
    pub fn connection_closed(&self, why: Farewell) {
        self.closed.with_label_values(&[why.as_str()]).inc();
    }

    /// Notes how long a certificate (`leaf` or `authority`) is valid.
    pub fn certificate(&self, kind: &'static str, validity: Validity) {
        let end = validity
            .not_after
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        self.not_after
            .with_label_values(&[kind])
            .set(i64::try_from(end.as_secs()).unwrap_or(i64::MAX));
    }

    /// Counts what happened to a certificate; the words are [`mbcas_certs::Event`]'s.
    pub fn certificate_event(&self, event: &'static str) {
        self.certificate_events.with_label_values(&[event]).inc();
    }
}

/// `series`, registered.
fn on<C: Collector + Clone + 'static>(
    registry: &Registry,
    series: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(series.clone()))?;
    Ok(series)
}
