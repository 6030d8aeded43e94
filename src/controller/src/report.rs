//! Asking an agent for its demand report.
//!
//! An agent runs inside a tenant's pod, so its answer is a stranger's: the
//! connection goes to the pod's own address and nowhere else, there are no
//! redirects, the body is cut at 4 KiB, and everything together has 500 ms.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mbcas_core::ContainerId;
use mbcas_core::demand::{AGENT_PORT, DemandReport, LongPoll, MAX_REPORT_BYTES, ReportError};
use mbcas_core::units::{Demand, MilliCpu};
use thiserror::Error;
use tokio::net::TcpStream;

/// How long one agent may take, from the first packet to the last byte.
pub const DEADLINE: Duration = Duration::from_millis(500);

/// Why no demand came from an agent, or from Prometheus about one.
#[derive(Debug, Error)]
#[allow(missing_docs)] // each variant's message says it
pub enum PullError {
    #[error("no answer within 500 ms")]
    Timeout,
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("the conversation failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("the answer has status {0}")]
    Status(StatusCode),
    #[error("the answer is cut off or larger than {MAX_REPORT_BYTES} bytes")]
    Body,
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error("there was no time to ask it in this cycle")]
    NoTime,
    #[error("Prometheus could not be asked")]
    NotAsked,
    #[error(
        "Prometheus has no sample of its demand from the last 45 s: its agent sees nothing that tells, or its port is not scraped as a pod's (monitoring.podMonitor)"
    )]
    NoSeries,
}

impl PullError {
    /// A word for metrics, from a closed set.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Connect(_) => "connect",
            Self::Http(_) => "http",
            Self::Status(_) => "status",
            Self::Body => "body",
            Self::Report(_) => "report",
            Self::NoTime => "no_time",
            Self::NotAsked => "not_asked",
            Self::NoSeries => "no_series",
        }
    }
}

/// What was said about a container: by its agent, by a monitoring system, or by nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// How urgent it is.
    pub demand: Demand,
    /// How much CPU it was measured to be able to use; absent where that is not known.
    pub measured: Option<MilliCpu>,
}

impl Word {
    /// Of one of whom nothing is known, to us or to its own agent.
    pub const NEUTRAL: Self = Self::of(Demand::NEUTRAL);

    /// This demand, and nothing measured.
    pub const fn of(demand: Demand) -> Self {
        Self {
            demand,
            measured: None,
        }
    }
}

/// What the agent at `address` says about `id`.
///
/// # Errors
/// [`PullError`] for everything but a fresh, well-formed report about `id`.
pub async fn pull(address: IpAddr, id: &ContainerId) -> Result<Word, PullError> {
    let agent = SocketAddr::new(address, AGENT_PORT);
    pull_from(agent, id, LongPoll::default()).await
}

/// As [`pull`], when the demand has risen or the time is over that `poll` says.
///
/// # Errors
/// As [`pull`].
pub async fn pull_when(
    address: IpAddr,
    id: &ContainerId,
    poll: LongPoll,
) -> Result<Word, PullError> {
    pull_from(SocketAddr::new(address, AGENT_PORT), id, poll).await
}

async fn pull_from(
    address: SocketAddr,
    id: &ContainerId,
    poll: LongPoll,
) -> Result<Word, PullError> {
    let (path, wait) = match (poll.above, poll.wait) {
        (Some(above), Some(wait)) => (
            format!("/demand?above={above}&wait={wait}"),
            Duration::from_secs(wait),
        ),
        _ => ("/demand".to_owned(), Duration::ZERO),
    };
    let body = tokio::time::timeout(wait + DEADLINE, fetch(address, &path))
        .await
        .map_err(|_| PullError::Timeout)??;
    let (report, demand) =
        DemandReport::parse(&body, &id.pod.namespace, &id.pod.name, &id.container)?;
    Ok(Word {
        demand: demand.unwrap_or(Word::NEUTRAL.demand),
        measured: report.need_millicores.map(MilliCpu::new),
    })
}

async fn fetch(address: SocketAddr, path: &str) -> Result<Bytes, PullError> {
    let stream = tokio::time::timeout(DEADLINE, TcpStream::connect(address))
        .await
        .map_err(|_| PullError::Timeout)?
        .map_err(PullError::Connect)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(16 * 1024)
        .handshake(TokioIo::new(stream))
        .await?;
    let request = Request::get(path)
        .header(header::HOST, "mbcas-demand-agent")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    // A path and numbers: it cannot be malformed.
    let Ok(request) = request else {
        return Err(PullError::Body);
    };
    let exchange = async {
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(PullError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_REPORT_BYTES)
            .collect()
            .await;
        body.map(http_body_util::Collected::to_bytes)
            .map_err(|_| PullError::Body)
    };
    // The connection is driven here and not in a task of its own: it ends with this call, whatever happens.
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => { ended?; exchange.await }
    }
}

#[cfg(test)]
mod tests;
