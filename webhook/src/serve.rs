//! The HTTPS server. Whatever is sent to it, it answers in time or not at all,
//! and nothing that one caller does holds up another.
//!
//! ```text
//!  TCP ─▶ connections ─▶ TLS ─▶ HTTP/2 or 1.1 ─▶ route ─▶ body ─▶ judge ─▶ answer
//!         256, the idlest       100 streams      path     7 MiB   a pure
//!         gives way             each                      each,   function
//!                                                         32 MiB
//!                                                         in all
//! ```
//! Strangers are attended to by a thread that gives way to those of whoever asks
//! all the time (`lobby`).
//!
//! A burst waits in the connections' own queues: at most 256 × 100 requests can
//! be there, and what comes to its deadline there is answered with 503 unread.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::post;
use mbcas_certs::LiveCertificate;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use thiserror::Error;

use crate::metrics::Metrics;
use crate::review::{Answer, Object, Review, ReviewError};

mod body;
mod connections;
mod deadline;
mod gather;
mod life;
mod listen;
mod lobby;
mod requests;
mod route;
mod unread;

pub use body::LONGEST as LONGEST_BODY;
pub use connections::MOST as MOST_CONNECTIONS;
pub use listen::{DRAIN, LINGER, serve};

use body::Room;
use route::Route;

/// Why there is no server.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address} for admission ({source}); choose another with --addr or MBCAS_WEBHOOK_ADDR"
    )]
    Bind {
        /// The address that was given.
        address: std::net::SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The listener cannot be used.
    #[error("the admission server stopped: {0}")]
    Serve(#[from] io::Error),
}

/// The paths, and what is answered on each.
#[derive(Debug)]
pub struct Routes {
    router: Router,
    room: Arc<Room>,
    metrics: Metrics,
}

impl Routes {
    /// None yet.
    pub fn new(metrics: Metrics) -> Self {
        Self {
            router: Router::new(),
            room: Arc::default(),
            metrics,
        }
    }

    /// Answers the reviews that are posted to `path` with what `judge` says.
    ///
    /// `judge` is asked in the middle of everything else, so it neither waits
    /// nor calls anybody; it knows what it needs already. Limits, deadline,
    /// metrics and log are the same on every path.
    #[must_use]
    pub fn at<T: Object>(
        mut self,
        path: &'static str,
        judge: impl Fn(&Review<T>) -> Result<Answer, ReviewError> + Send + Sync + 'static,
    ) -> Self {
        let route = Route::new(path, judge, Arc::clone(&self.room), self.metrics.clone());
        let route = Arc::new(route);
        let answer = move |request: Request| Arc::clone(&route).answer(request);
        self.router = self.router.route(path, post(answer));
        self
    }

    /// The routes as a service.
    pub fn into_router(self) -> Router {
        self.router
    }
}

/// TLS 1.2 or 1.3 with whatever certificate is current; HTTP/2 or 1.1 on top.
///
/// # Errors
/// If the crypto provider lacks a protocol version.
pub fn tls(live: Arc<LiveCertificate>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let config = ServerConfig::builder_with_provider(mbcas_certs::provider())
        .with_protocol_versions(&versions)?;
    let mut config = config
        .with_no_client_auth()
        .with_cert_resolver(live as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // API servers do not resume sessions, and one that did would go on with a certificate that was replaced.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Takes the admission port.
///
/// # Errors
/// [`ServeError::Bind`] where the address is taken, foreign or forbidden.
pub fn bind(address: std::net::SocketAddr) -> Result<TcpListener, ServeError> {
    mbcas_runtime::listen::bind(address).map_err(|source| ServeError::Bind { address, source })
}

#[cfg(test)]
mod tests;
