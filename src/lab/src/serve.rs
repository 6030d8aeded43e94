//! The demo server: requests that cost a known amount of CPU time, and a queue that the kernel keeps.
//!
//! ```text
//! clients ──▶ accept queue (kernel) ──▶ worker: accept, read, spend CPU, answer, close
//! ```
//!
//! A worker takes a connection only when it is free, so the kernel's accept queue
//! is the server's queue, and the demand agent beside it sees it. Health has a
//! port and a thread of its own: a kubelet's probe must not wait in that queue.

mod request;
mod worker;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use mbcas_agent::sockets::AcceptQueue;
use mbcas_runtime::{admin, http};
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Length of the accept queue that is asked for; the kernel cuts it to `net.core.somaxconn`.
pub const BACKLOG: i32 = 1024;

/// The most CPU time that a request may ask for, in milliseconds.
pub const MOST_MS: u32 = 1000;

/// Serves requests that cost CPU time: GET /work?ms=12.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Args {
    /// Address of both ports.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub address: IpAddr,
    /// Port of the work.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Port of /healthz and /metrics.
    #[arg(long, default_value_t = 8081)]
    pub health_port: u16,
    /// Requests that are worked on at a time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// CPU time of a request that names none, in milliseconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=i64::from(MOST_MS)))]
    pub ms: u32,
    /// Say on /metrics that so many connections wait, whatever is so: a service that lies.
    #[arg(long, value_name = "COUNT")]
    pub claim_queue: Option<u32>,
}

/// Why the server does not serve.
#[derive(Debug, Error)]
pub enum ServeError {
    /// A port cannot be listened on.
    #[error(
        "cannot listen on {address} ({source}); choose another with --address, --port or --health-port"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// A worker cannot be started.
    #[error("cannot start a worker ({0}); try fewer --workers")]
    Worker(#[source] io::Error),
    /// The metrics are wrong: a fault of this program.
    #[error("cannot set up the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// What the server counts.
#[derive(Clone, Debug)]
pub struct Figures {
    registry: Registry,
    /// Requests that a worker is at.
    pub in_flight: IntGauge,
    /// Connections that wait for a worker, when last looked at.
    queue: IntGauge,
    /// Requests by outcome: `ok`, `refused` (not a request we serve), `abandoned` (the client left while it waited).
    pub requests: IntCounterVec,
}

impl Figures {
    /// All zero.
    ///
    /// # Errors
    /// None in practice: names are constants.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let in_flight = IntGauge::new("lab_in_flight", "Requests that a worker is at.")?;
        let queue = IntGauge::new("lab_queue_depth", "Connections that wait for a worker.")?;
        let requests = Opts::new("lab_requests_total", "Requests by outcome.");
        let requests = IntCounterVec::new(requests, &["outcome"])?;
        registry.register(Box::new(in_flight.clone()))?;
        registry.register(Box::new(queue.clone()))?;
        registry.register(Box::new(requests.clone()))?;
        Ok(Self {
            registry,
            in_flight,
            queue,
            requests,
        })
    }

    /// The health port's routes for a server on `port`.
    fn router(&self, port: u16, claimed: Option<u32>) -> Router {
        let figures = self.clone();
        let metrics = async move || figures.text(port, claimed);
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/metrics", get(metrics))
    }

    fn text(&self, port: u16, claimed: Option<u32>) -> Response {
        // A queue that cannot be read stays as it was: the page is for people and for the agent's second signal.
        let waiting = AcceptQueue::new().waiting(|p| p == port).ok();
        if let Some(waiting) = claimed.map(u64::from).or_else(|| waiting.flatten()) {
            self.queue.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        }
        admin::text(&self.registry)
    }
}

/// Serves until `token` is cancelled. Requests that workers are at are cut off then:
/// the process that called this ends.
///
/// # Errors
/// [`ServeError`] where a port is taken or a thread refused.
pub async fn run(args: Args, token: CancellationToken) -> Result<(), ServeError> {
    let figures = Figures::new()?;
    let address = SocketAddr::new(args.address, args.port);
    let listener = listen(address).map_err(|source| ServeError::Listen { address, source })?;
    let health = SocketAddr::new(args.address, args.health_port);
    let health_listener = tokio::net::TcpListener::bind(health)
        .await
        .map_err(|source| ServeError::Listen {
            address: health,
            source,
        })?;
    start(
        listener,
        args.workers,
        Duration::from_millis(args.ms.into()),
        &figures,
    )?;
    info!(%address, %health, workers = args.workers, ms = args.ms, "serving");
    http::serve(
        health_listener,
        figures.router(args.port, args.claim_queue),
        http::Limits::default(),
        token,
    )
    .await;
    Ok(())
}

/// Listens with a queue of [`BACKLOG`]; the standard library does not let us choose.
///
/// # Errors
/// What the kernel says.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // A server that is started again must not wait for the connections of the one before.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Starts `workers` threads that serve `listener` for as long as the process lives.
///
/// # Errors
/// [`ServeError::Worker`] where a thread is refused.
pub fn start(
    listener: TcpListener,
    workers: u16,
    cost: Duration,
    figures: &Figures,
) -> Result<(), ServeError> {
    let listener = Arc::new(listener);
    for number in 0..workers {
        let (listener, figures) = (Arc::clone(&listener), figures.clone());
        std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || worker::serve(&listener, cost, &figures))
            .map_err(ServeError::Worker)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
