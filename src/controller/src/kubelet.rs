//! Evidence: what the kubelet says that containers used.
//!
//! `/metrics/resource` of the node's own kubelet, at the node's address and
//! with the process's own service account (RBAC `nodes/metrics`, never
//! `nodes/proxy`, which would allow far more than reading).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::ConfigExt;
use kube::{Client, Config};
use mbcas_core::exposition::samples;
use mbcas_core::units::MilliCpu;
use thiserror::Error;
use tokio::time::Instant;
use tower::{BoxError, ServiceBuilder};

/// How long a kubelet may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// Two counters closer together than this say nothing about a rate.
const LEAST_WINDOW_MS: i64 = 1_000;

/// How long a kubelet may take to give the two readings that make a rate: a cycle asks every 15 s. From 1.37
/// on it measures when it is asked, and before that every 10 s or so.
const WARM_UP: Duration = Duration::from_secs(30);

/// How kubelets' certificates are checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KubeletTls {
    /// Against the cluster's own authority.
    #[default]
    Verify,
    /// Against the authorities in this file of PEM, which is read anew every minute.
    CaBundle(PathBuf),
    /// Not at all. Many distributions give kubelets self-signed certificates;
    /// whoever sits between controller and kubelet could then forge usage.
    Insecure,
}

/// Why no usage came.
#[derive(Debug, Error)]
pub enum KubeletError {
    /// The address does not make a URL.
    #[error("node {node}: {address} is no address to ask: {source}")]
    Address {
        /// The node.
        node: String,
        /// Its address.
        address: String,
        /// The cause.
        source: http::uri::InvalidUri,
    },
    /// There is nothing to ask them with.
    #[error(
        "kubelets cannot be asked: {0}; is --kubelet-ca (controller.kubeletCA) a file of PEM certificates?"
    )]
    Tls(Box<kube::Error>),
    /// The kubelet did not answer in time.
    #[error("node {0}: the kubelet did not answer within 2 s")]
    Timeout(String),
    /// The kubelet refused, or could not be reached.
    #[error(
        "node {node}: reading the kubelet's /metrics/resource failed: {source} \
         (a certificate error: give kubelets certificates of the cluster's CA, or name their own with \
         controller.kubeletTLS=caBundle)"
    )]
    Failed {
        /// The node.
        node: String,
        /// The cause.
        source: Box<kube::Error>,
    },
}

/// Whose usage: namespace, pod, container.
pub type UsageKey = (String, String, String);

/// What a container used over the newest window that the kubelet measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Used {
    /// Mean use.
    pub cpu: MilliCpu,
    /// When the window was first seen here: the node's clock is not ours.
    pub seen: Instant,
}

/// Usage by container. The keys are shared with whoever measured it.
pub type UsageOf = BTreeMap<Arc<UsageKey>, Used>;

/// One reading of a container's CPU counter.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reading {
    cpu_seconds: f64,
    at_ms: i64,
}

/// What is known of a container.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Track {
    last: Reading,
    /// When that was first seen here.
    seen: Instant,
    /// Mean use up to then; nothing before there were two readings.
    used: Option<MilliCpu>,
}

/// A client for all kubelets together: they share a TLS configuration, and each keeps its connection.
///
/// # Errors
/// [`KubeletError::Tls`] if there are no authorities to check them against.
pub fn client(tls: &KubeletTls, base: &Config) -> Result<Client, KubeletError> {
    let mut config = base.clone();
    config.tls_server_name = None;
    config.accept_invalid_certs = *tls == KubeletTls::Insecure;
    if let KubeletTls::CaBundle(file) = tls {
        config.root_cert_file = Some(file.clone());
    }
    let failed = |error| KubeletError::Tls(Box::new(error));
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(DEADLINE));
    let https = config.rustls_https_connector_with_connector(connector);
    let http = Http::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(https.map_err(failed)?);
    let service = ServiceBuilder::new()
        .option_layer(config.auth_layer().map_err(failed)?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace))
}

/// One node's kubelet, with the last reading of every container on it.
pub struct Kubelet {
    node: String,
    url: Uri,
    tracks: BTreeMap<Arc<UsageKey>, Track>,
    since: Instant,
    asked: Option<Instant>,
    is_silent: bool,
}

impl Kubelet {
    /// A kubelet at `address`:`port`.
    ///
    /// # Errors
    /// [`KubeletError::Address`] if that is none.
    pub fn new(node: &str, address: &str, port: i32) -> Result<Self, KubeletError> {
        let host = if address.contains(':') {
            format!("[{address}]")
        } else {
            address.to_owned()
        };
        let url = format!("https://{host}:{port}/metrics/resource").parse();
        let url = url.map_err(|source| KubeletError::Address {
            node: node.to_owned(),
            address: address.to_owned(),
            source,
        })?;
        Ok(Self {
            node: node.to_owned(),
            url,
            tracks: BTreeMap::new(),
            since: Instant::now(),
            asked: None,
            is_silent: false,
        })
    }

    /// In which order kubelets are asked: first those that answered the last time, and of each
    /// kind first those that were asked longest ago.
    pub const fn order(&self) -> (bool, Option<Instant>) {
        (self.is_silent, self.asked)
    }

    /// Whether `other` is the same kubelet, still where it was.
    pub fn is_at(&self, other: &Self) -> bool {
        self.node == other.node && self.url == other.url
    }

    /// Whether it is too early to judge its node: no rate is known yet, and the
    /// kubelet has been asked, or was started anew, for less than 30 s, or two cycles of `interval`. After that the market
    /// goes on without usage, so that a silent kubelet does not stop it.
    pub fn is_warming_up(&self, interval: Duration) -> bool {
        let enough = WARM_UP.max(interval * 2);
        self.usage().next().is_none() && self.since.elapsed() < enough
    }

    /// What is known of the usage of its containers. One without two readings is not among them.
    pub fn usage(&self) -> impl Iterator<Item = (&Arc<UsageKey>, Used)> {
        let tracks = self.tracks.iter();
        tracks.filter_map(|(key, track)| {
            let (cpu, seen) = (track.used?, track.seen);
            Some((key, Used { cpu, seen }))
        })
    }

    /// Forgets what was seen longer ago than `age`: a kubelet that cannot be read is not to be believed
    /// for ever, and what it says after that begins anew.
    pub fn forget_older(&mut self, age: Duration) {
        self.tracks.retain(|_, track| track.seen.elapsed() <= age);
    }

    /// Reads the counters.
    ///
    /// # Errors
    /// [`KubeletError`]; the readings so far are kept.
    pub async fn read(&mut self, client: &Client) -> Result<(), KubeletError> {
        let failed = |source| KubeletError::Failed {
            node: self.node.clone(),
            source: Box::new(source),
        };
        // Also if nobody waits for the answer any more.
        self.is_silent = true;
        self.asked = Some(Instant::now());
        let request = http::Request::get(&self.url).body(Vec::new());
        let request = request.map_err(|e| failed(kube::Error::HttpError(e)))?;
        let answer = tokio::time::timeout(DEADLINE, client.request_text(request)).await;
        let text = answer
            .map_err(|_| KubeletError::Timeout(self.node.clone()))?
            .map_err(failed)?;
        self.is_silent = false;
        self.take(&text);
        Ok(())
    }

    fn take(&mut self, text: &str) {
        let had_usage = self.usage().next().is_some();
        let mut before = std::mem::take(&mut self.tracks);
        for (key, last) in readings(text) {
            let (key, track) = match before.remove_entry(&key) {
                // Kubelets before 1.37 measure every 10 s or so; between two measurements the old rate stands.
                Some((key, track)) if last.at_ms - track.last.at_ms < LEAST_WINDOW_MS => {
                    (key, track)
                }
                old => {
                    let used = old.as_ref().map(|(_, track)| rate(track.last, last));
                    let key = old.map_or_else(|| Arc::new(key), |(key, _)| key);
                    let seen = Instant::now();
                    (key, Track { last, seen, used })
                }
            };
            self.tracks.insert(key, track);
        }
        if had_usage && self.usage().next().is_none() {
            // It was started anew, and has nothing to say yet.
            self.since = Instant::now();
        }
    }
}

fn readings(text: &str) -> impl Iterator<Item = (UsageKey, Reading)> {
    samples(text, "container_cpu_usage_seconds_total").filter_map(|sample| {
        let label = |name| sample.label(name).map(str::to_owned);
        let key = (label("namespace")?, label("pod")?, label("container")?);
        let reading = Reading {
            cpu_seconds: sample.value,
            at_ms: sample.timestamp_ms?,
        };
        Some((key, reading))
    })
}

/// Mean use between two readings. A counter that fell was restarted and counts from zero.
fn rate(last: Reading, now: Reading) -> MilliCpu {
    let used = if now.cpu_seconds < last.cpu_seconds {
        now.cpu_seconds
    } else {
        now.cpu_seconds - last.cpu_seconds
    };
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    // a finite, non-negative number of millicores; the cast saturates
    MilliCpu::new(
        (used * 1_000_000.0 / (now.at_ms - last.at_ms) as f64)
            .max(0.0)
            .round() as u64,
    )
}

#[cfg(test)]
mod tests;
