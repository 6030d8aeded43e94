//! Can the metrics of MBCAS's own pods be read: as Prometheus does, each pod's from its own address.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::join_all;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use mbcas_api::names::ADMIN_PORT;
use mbcas_core::exposition::samples;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Row;
use crate::output;

/// What a pod may take for its page, from the first packet to the last byte.
const DEADLINE: Duration = Duration::from_secs(2);

/// The longest page: a leader's, with the series of some 20,000 containers.
const LONGEST_PAGE: usize = 32 * 1024 * 1024;

/// The name of the port in our own pods.
const PORT_NAME: &str = "admin";

/// One kind of pod of ours.
struct Component {
    /// Its name, also as the label `app.kubernetes.io/component`.
    name: &'static str,
    /// Series that each of its pods has, whatever has happened so far.
    series: &'static [&'static str],
    /// Without one, nothing works.
    is_vital: bool,
}

const COMPONENTS: [Component; 2] = [
    Component {
        name: "webhook",
        series: &[
            "mbcas_admission_connections",
            "mbcas_webhook_cert_not_after_seconds",
        ],
        is_vital: true,
    },
    Component {
        name: "controller",
        series: &["mbcas_leader", "mbcas_resize_supported"],
        is_vital: false,
    },
];

/// Why there is no page.
#[derive(Debug, Error)]
enum PageError {
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Timeout,
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("the conversation failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer has status {0}")]
    Status(StatusCode),
    #[error("the answer is cut off, too long or no text")]
    Body,
}

/// Reads the metrics of every pod of ours that runs in `namespace`, once.
pub async fn metrics(client: &Client, namespace: &str) -> Vec<Row> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let ours = ListParams::default().labels("app.kubernetes.io/part-of=mbcas");
    let pods = match pods.list(&ours).await {
        Ok(pods) => pods.items,
        Err(why) => {
            return vec![Row::fail(
                format!("MBCAS's pods in namespace {namespace} cannot be listed"),
                output::words(&why),
            )];
        }
    };
    let mut rows = Vec::new();
    for component in &COMPONENTS {
        let pods = pods.iter().filter(|pod| component.is_of(pod));
        let pages = pods.filter_map(|pod| Some((pod.name_any(), address(pod)?)));
        let pages = pages.map(|(pod, address)| async move { (pod, address, page(address).await) });
        let pages: Vec<_> = join_all(pages).await;
        rows.extend(component.judge(&pages, namespace));
    }
    rows
}

impl Component {
    fn is_of(&self, pod: &Pod) -> bool {
        let component = pod.labels().get("app.kubernetes.io/component");
        component.is_some_and(|component| component == self.name)
    }

    fn judge(
        &self,
        pages: &[(String, SocketAddr, Result<String, PageError>)],
        namespace: &str,
    ) -> Vec<Row> {
        let name = self.name;
        if pages.is_empty() {
            let what = format!("no {name} runs in namespace {namespace}");
            return vec![if self.is_vital {
                Row::fail(
                    what,
                    format!("see the Deployment mbcas-{name} and its events"),
                )
            } else {
                Row::warn(
                    what,
                    format!(
                        "unless its replicas are 0 on purpose, see the Deployment mbcas-{name} and its events"
                    ),
                )
            }];
        }
        let faults: Vec<_> = pages
            .iter()
            .filter_map(|(pod, address, page)| self.fault(pod, *address, page))
            .collect();
        if faults.is_empty() {
            vec![Row::ok(format!(
                "the {name}'s metrics can be read (replicas: {})",
                pages.len()
            ))]
        } else {
            faults
        }
    }

    fn fault(
        &self,
        pod: &str,
        address: SocketAddr,
        page: &Result<String, PageError>,
    ) -> Option<Row> {
        let text = match page {
            Ok(text) => text,
            Err(why) => {
                let hint = match why {
                    PageError::Timeout | PageError::Connect(_) => format!(
                        "does a NetworkPolicy let this through to port {}? With the chart's own, \
                         networkPolicy.metricsFrom says who may read; otherwise see the pod's log",
                        address.port()
                    ),
                    _ => "see the pod's log".to_owned(),
                };
                return Some(Row::fail(
                    format!("{pod}: its metrics cannot be read at {address}: {why}"),
                    hint,
                ));
            }
        };
        let mut wanted = self.series.iter();
        let missing = wanted.find(|series| samples(text, series).next().is_none())?;
        Some(Row::fail(
            format!("{pod}: its metrics at {address} lack {missing}"),
            "is something else listening there, or the pod of another version than this command?",
        ))
    }
}

/// Where a pod that runs, and is not about to go, serves its metrics.
fn address(pod: &Pod) -> Option<SocketAddr> {
    let status = pod.status.as_ref()?;
    let runs = status.phase.as_deref() == Some("Running");
    if !runs || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let ip: IpAddr = status.pod_ip.as_deref()?.parse().ok()?;
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| port.name.as_deref() == Some(PORT_NAME));
    let port = port.and_then(|port| u16::try_from(port.container_port).ok());
    Some(SocketAddr::new(ip, port.unwrap_or(ADMIN_PORT)))
}

async fn page(address: SocketAddr) -> Result<String, PageError> {
    timeout(DEADLINE, fetch(address))
        .await
        .map_err(|_| PageError::Timeout)?
}

async fn fetch(address: SocketAddr) -> Result<String, PageError> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/metrics")
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    // An address is always a good header.
    let request = request.map_err(|_| PageError::Body)?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(PageError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), LONGEST_PAGE).collect();
        let body = body.await.map_err(|_| PageError::Body)?.to_bytes();
        String::from_utf8(body.to_vec()).map_err(|_| PageError::Body)
    };
    // The connection is driven here and not in a task of its own: it ends with this call.
    tokio::pin!(connection, exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => { ended?; exchange.await }
    }
}

#[cfg(test)]
mod tests;
