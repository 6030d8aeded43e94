//! Evidence: what the kubelet says that containers used.
//!
//! `/metrics/resource` of the node's own kubelet, at the node's address and
//! with the process's own service account (RBAC `nodes/metrics`, never
//! `nodes/proxy`, which would allow far more than reading).

use std::collections::BTreeMap;
use std::time::Duration;

use kube::{Client, Config};
use mbcas_core::exposition::samples;
use mbcas_core::units::MilliCpu;
use thiserror::Error;
use tokio::time::Instant;

/// How long a kubelet may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// Two counters closer together than this say nothing about a rate.
const LEAST_WINDOW_MS: i64 = 1_000;

/// How long a kubelet may take to give the two readings that make a rate. It
/// measures every 10 s or so, and a cycle asks every 15 s.
const WARM_UP: Duration = Duration::from_secs(30);

/// How the kubelet's certificate is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum KubeletTls {
    /// Against the cluster's own authority.
    #[default]
    Verify,
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
    /// The kubelet did not answer in time.
    #[error("node {0}: the kubelet did not answer within 2 s")]
    Timeout(String),
    /// The kubelet refused, or could not be reached.
    #[error(
        "node {node}: reading the kubelet's /metrics/resource failed: {source} \
         (a certificate error: set controller.kubeletTLS=insecure, or give kubelets certificates of the cluster's CA)"
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

/// One reading of a container's CPU counter.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reading {
    cpu_seconds: f64,
    at_ms: i64,
}

/// One node's kubelet, with the last reading of every container on it.
pub struct Kubelet {
    node: String,
    client: Client,
    last: BTreeMap<UsageKey, Reading>,
    usage: BTreeMap<UsageKey, Used>,
    since: Instant,
}

impl Kubelet {
    /// A kubelet at `address`:`port`.
    ///
    /// # Errors
    /// [`KubeletError`] if no client can be made for that address.
    pub fn new(
        node: &str,
        address: &str,
        port: i32,
        tls: &KubeletTls,
        base: &Config,
    ) -> Result<Self, KubeletError> {
        let host = if address.contains(':') {
            format!("[{address}]")
        } else {
            address.to_owned()
        };
        let url =
            format!("https://{host}:{port}")
                .parse()
                .map_err(|source| KubeletError::Address {
                    node: node.to_owned(),
                    address: address.to_owned(),
                    source,
                })?;
        let mut config = base.clone();
        config.cluster_url = url;
        config.tls_server_name = None;
        config.accept_invalid_certs = *tls == KubeletTls::Insecure;
        config.connect_timeout = Some(DEADLINE);
        config.read_timeout = Some(DEADLINE);
        let failed = |source| KubeletError::Failed {
            node: node.to_owned(),
            source: Box::new(source),
        };
        let client = Client::try_from(config).map_err(failed)?;
        Ok(Self {
            node: node.to_owned(),
            client,
            last: BTreeMap::new(),
            usage: BTreeMap::new(),
            since: Instant::now(),
        })
    }

    /// Whether it is too early to judge its node: no rate is known yet, and the
    /// kubelet has been asked for less than 30 s. After that the market
    /// goes on without usage, so that a silent kubelet does not stop it.
    pub fn is_warming_up(&self) -> bool {
        self.usage.is_empty() && self.since.elapsed() < WARM_UP
    }

    /// Reads the counters and returns the usage since the reading before, by
    /// container. A container without two readings has none.
    ///
    /// # Errors
    /// [`KubeletError`]; the readings so far are kept.
    pub async fn usage(&mut self) -> Result<&BTreeMap<UsageKey, Used>, KubeletError> {
        let failed = |source| KubeletError::Failed {
            node: self.node.clone(),
            source: Box::new(source),
        };
        let request = http::Request::get("/metrics/resource").body(Vec::new());
        let request = request.map_err(|e| failed(kube::Error::HttpError(e)))?;
        let answer = tokio::time::timeout(DEADLINE, self.client.request_text(request)).await;
        let text = answer
            .map_err(|_| KubeletError::Timeout(self.node.clone()))?
            .map_err(failed)?;
        self.take(&text);
        Ok(&self.usage)
    }

    fn take(&mut self, text: &str) {
        let fresh = readings(text);
        let mut usage = BTreeMap::new();
        for (key, reading) in &fresh {
            let used = match self.last.get(key) {
                // The kubelet measures every 10 s or so; between two measurements the old rate stands.
                Some(last) if reading.at_ms - last.at_ms < LEAST_WINDOW_MS => {
                    self.usage.get(key).copied()
                }
                Some(last) => Some(Used {
                    cpu: rate(*last, *reading),
                    seen: Instant::now(),
                }),
                None => None,
            };
            if let Some(used) = used {
                usage.insert(key.clone(), used);
            }
        }
        self.last = fresh
            .into_iter()
            .map(|(key, reading)| match self.last.get(&key) {
                Some(last) if reading.at_ms - last.at_ms < LEAST_WINDOW_MS => (key, *last),
                _ => (key, reading),
            })
            .collect();
        self.usage = usage;
    }
}

fn readings(text: &str) -> BTreeMap<UsageKey, Reading> {
    let mut found = BTreeMap::new();
    for sample in samples(text, "container_cpu_usage_seconds_total") {
        let labels = (
            sample.label("namespace"),
            sample.label("pod"),
            sample.label("container"),
        );
        if let ((Some(namespace), Some(pod), Some(container)), Some(at_ms)) =
            (labels, sample.timestamp_ms)
        {
            let key = (namespace.to_owned(), pod.to_owned(), container.to_owned());
            found.insert(
                key,
                Reading {
                    cpu_seconds: sample.value,
                    at_ms,
                },
            );
        }
    }
    found
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
