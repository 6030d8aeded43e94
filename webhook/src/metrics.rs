//! What the webhook counts.

use std::time::{Duration, SystemTime};

use mbcas_certs::Validity;
use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry};

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
    /// More are being answered than we can answer at once.
    Overloaded,
}

impl Failure {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::ContentType => "content_type",
            Self::Malformed => "bad_request",
            Self::Slow => "slow",
            Self::Overloaded => "overloaded",
        }
    }
}

/// The webhook's series. Labels come from closed sets, never from a review.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: IntCounterVec,
    duration: Histogram,
    not_after: IntGaugeVec,
    certificate_events: IntCounterVec,
}

impl Metrics {
    /// Registers the series.
    ///
    /// # Errors
    /// If `registry` has series of these names already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new(
                "mbcas_admission_requests_total",
                "Admission requests, by decision and its reason.",
            ),
            &["decision", "reason"],
        )?;
        let options = HistogramOpts::new(
            "mbcas_admission_duration_seconds",
            "Time from a request's first byte to its answer, TLS excluded.",
        );
        let duration = Histogram::with_opts(options.buckets(BUCKETS.to_vec()))?;
        let not_after = IntGaugeVec::new(
            Opts::new(
                "mbcas_webhook_cert_not_after_seconds",
                "End of a certificate's validity, in seconds since 1970.",
            ),
            &["kind"],
        )?;
        let certificate_events = IntCounterVec::new(
            Opts::new(
                "mbcas_webhook_cert_events_total",
                "What happened to the webhook's certificates, by event.",
            ),
            &["event"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(not_after.clone()))?;
        registry.register(Box::new(certificate_events.clone()))?;
        Ok(Self {
            requests,
            duration,
            not_after,
            certificate_events,
        })
    }

    /// Counts a request that was decided.
    pub fn decided(&self, decision: &'static str, reason: &'static str, took: Duration) {
        self.requests.with_label_values(&[decision, reason]).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts a request that was not.
    pub fn failed(&self, failure: Failure) {
        self.requests
            .with_label_values(&["error", failure.as_str()])
            .inc();
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
