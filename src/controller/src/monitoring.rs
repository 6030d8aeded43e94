//! Demand from Prometheus, for clusters in which nobody may talk to pods but Prometheus does.
//!
//! One query a cycle for the whole cluster. Whom a series is about is what Prometheus says who was
//! scraped (`namespace`, `pod`); the container is the agent's own word. So no agent can speak for another pod.
//! A series without a sample in 45 s is not there. Prometheus scrapes every
//! 15 to 60 s, so jumps are not heard of between two cycles: kubelets' usage is the fast path then.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as _, Bytes};
use kube::client::Body;
use kube::{Client, Config};
use mbcas_core::ContainerId;
use mbcas_core::demand::DemandReport;
use mbcas_core::units::Demand;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::value::RawValue;
use thiserror::Error;
use tokio::time::timeout;

/// What is asked where nobody says otherwise: agents that Prometheus scrapes as pods. It renames the
/// labels that an agent gives itself; the controller's own gauge of that name has no such ones.
pub const QUERY: &str = r#"last_over_time(mbcas_demand_intensity{exported_container!=""}[45s])"#;

/// How long an answer may take; a cycle does not wait longer for demand.
const DEADLINE: Duration = Duration::from_secs(3);

/// The most that is read of an answer, in bytes: 350 for each of 150,000 pods, and some more.
const MOST: usize = 64 * 1024 * 1024;

/// Where Prometheus is and how it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its URL, such as `http://prometheus.monitoring:9090`; a path before `/api/v1` is kept.
    pub url: Uri,
    /// The PEM file of the authorities that its certificate is checked against, with https. Without it
    /// those of the system, of which our images have none.
    pub authorities: Option<PathBuf>,
    /// A file with a bearer token, read anew as it changes.
    pub token: Option<PathBuf>,
    /// What it is asked.
    pub query: String,
}

/// Why Prometheus said nothing.
#[derive(Debug, Error)]
#[allow(missing_docs)] // each variant's message says it
pub enum MonitoringError {
    #[error("Prometheus did not answer within 3 s")]
    Timeout,
    #[error(
        "asking Prometheus failed: {0}; is --prometheus-url (controller.prometheus.url) right, \
         and may the controller reach it?"
    )]
    Failed(#[from] Box<kube::Error>),
    #[error(
        "Prometheus answered with status {0}; does --prometheus-url name Prometheus, and may the controller ask it?"
    )]
    Status(StatusCode),
    #[error("Prometheus refused the query: {0}")]
    Refused(String),
    #[error("the answer of Prometheus is larger than {MOST} bytes, or was cut off")]
    Body,
    #[error(
        "the answer of Prometheus is not readable: {0}; the query must return an instant vector"
    )]
    Malformed(#[from] serde_json::Error),
}

/// Prometheus, to be asked.
#[derive(Clone)]
pub struct Monitoring {
    client: Client,
    path: String,
}

/// What it said, by namespace, pod and container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series(BTreeMap<[String; 3], Demand>);

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    error: String,
    #[serde(borrow)]
    data: Option<Data<'a>>,
}

/// Each element is read by itself: of one that is not readable (a native histogram has no value) the
/// others do not suffer.
#[derive(Deserialize)]
struct Data<'a> {
    #[serde(rename = "resultType")]
    _kind: Kind,
    #[serde(borrow)]
    result: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Vector,
}

#[derive(Deserialize)]
struct One {
    metric: Labels,
    value: (f64, String),
}

#[derive(Deserialize)]
struct Labels {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    pod: String,
    #[serde(default)]
    container: String,
    exported_container: Option<String>,
}

impl Monitoring {
    /// Prometheus at `address`.
    ///
    /// # Errors
    /// [`MonitoringError::Failed`] if its authorities or its token cannot be read.
    pub fn new(address: &Address) -> Result<Self, MonitoringError> {
        let mut config = Config::new(address.url.clone());
        config.root_cert_file.clone_from(&address.authorities);
        if address.url.scheme_str() == Some("http") {
            // Without TLS nothing is checked, and the system's authorities, of which an image has none, need not be there.
            config.root_cert = Some(Vec::new());
        }
        config.auth_info.token_file = address
            .token
            .as_ref()
            .map(|file| file.display().to_string());
        config.default_retry = false;
        config.connect_timeout = Some(DEADLINE);
        let client = Client::try_from(config).map_err(Box::new)?;
        let query: String = form_urlencoded::byte_serialize(address.query.as_bytes()).collect();
        let path = format!("/api/v1/query?query={query}");
        Ok(Self { client, path })
    }

    /// What Prometheus knows now.
    ///
    /// # Errors
    /// [`MonitoringError`]; never later than after 3 s.
    pub async fn series(&self) -> Result<Series, MonitoringError> {
        timeout(DEADLINE, self.ask(MOST))
            .await
            .map_err(|_| MonitoringError::Timeout)?
    }

    /// The same, of an answer that has at most `most` bytes, whenever it comes.
    async fn ask(&self, most: usize) -> Result<Series, MonitoringError> {
        let failed = |error| MonitoringError::Failed(Box::new(error));
        let request = Request::get(&self.path).body(Body::empty());
        let request = request.map_err(|error| failed(kube::Error::HttpError(error)))?;
        let answer = self.client.send(request).await.map_err(failed)?;
        let status = answer.status();
        let body = whole(answer.into_body(), most).await?;
        Series::read(status, &body)
    }
}

/// All of a body that has at most `most` bytes; one that announces more is not begun.
async fn whole(body: Body, most: usize) -> Result<Bytes, MonitoringError> {
    let announced = usize::try_from(body.size_hint().lower());
    if !announced.is_ok_and(|announced| announced <= most) {
        return Err(MonitoringError::Body);
    }
    let body = Limited::new(body, most).collect().await;
    Ok(body.map_err(|_| MonitoringError::Body)?.to_bytes())
}

impl Series {
    /// Reads an answer. What is no intensity, or about nobody, is not there.
    fn read(status: StatusCode, body: &[u8]) -> Result<Self, MonitoringError> {
        let answer = match serde_json::from_slice::<Answer<'_>>(body) {
            // A refused query comes with a status of its own.
            Ok(answer) if !answer.error.is_empty() => {
                let said = answer.error.chars().take(200).collect();
                return Err(MonitoringError::Refused(said));
            }
            _ if status != StatusCode::OK => return Err(MonitoringError::Status(status)),
            answer => answer?,
        };
        let missing = || serde_json::Error::missing_field("data");
        let elements = answer.data.ok_or_else(missing)?.result.into_iter();
        let readable = |element: &RawValue| serde_json::from_str(element.get()).ok();
        let mut series = BTreeMap::new();
        for One { metric, value } in elements.filter_map(readable) {
            let Labels {
                namespace,
                pod,
                container,
                exported_container,
            } = metric;
            let container = exported_container.unwrap_or(container);
            let demand = value.1.parse().ok().map(Demand::from_fraction);
            if let Some(Ok(demand)) = demand {
                let known: &mut Demand =
                    series.entry([namespace, pod, container]).or_insert(demand);
                *known = demand.max(*known);
            }
        }
        Ok(Self(series))
    }

    /// What is said about `id`.
    pub fn demand(&self, id: &ContainerId) -> Option<Demand> {
        let key = [&id.pod.namespace, &id.pod.name, &id.container].map(String::clone);
        self.0.get(&key).copied()
    }
}

/// The window of [`QUERY`] is the age up to which agents' own reports are taken.
const _: () = assert!(DemandReport::MAX_AGE_MS == 45_000);

#[cfg(test)]
mod tests;
