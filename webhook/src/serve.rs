//! The HTTPS server. Whatever is sent to it, it answers in time or not at all,
//! and nothing that one caller does holds up another.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use http::{HeaderMap, StatusCode, header};
use mbcas_certs::LiveCertificate;
use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{debug, info, warn};

use crate::admit::{PodError, Verdict, admit};
use crate::decide::Decision;
use crate::metrics::{Failure, Metrics};
use crate::namespace::Namespace;
use crate::policy::Policy;
use crate::review::{Answer, Review};

/// Where reviews are posted to.
pub const PATH: &str = "/inject";

/// The longest body. The API server takes objects of 3 MiB, an update's review
/// carries two of them, and 7 MiB is what controller-runtime allows too.
pub const LONGEST_BODY: usize = 7 * 1024 * 1024;

/// How long a body may take to arrive: the call as a whole has 2 s.
pub const READ_TIME: Duration = Duration::from_millis(1_500);

/// How many reviews are in memory at once. Beyond that the caller hears so at
/// once, and the pod is created without us: better than with us and late.
pub const MOST_AT_ONCE: usize = 64;

/// How long a connection may take for its handshake, and for its first request's head.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long new connections are accepted after the order to end: endpoints
/// leave a Service only some time after their pod was told.
pub const LINGER: Duration = Duration::from_secs(5);

/// How long running requests may take after that.
pub const DRAIN: Duration = Duration::from_secs(5);

/// How a pod is judged; a parameter for the sake of tests.
type Judge = fn(&Value, &Policy, &Namespace) -> Result<Verdict, PodError>;

/// What the handler needs.
#[derive(Debug)]
pub struct App {
    policy: Policy,
    metrics: Metrics,
    permits: Semaphore,
    judge: Judge,
}

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
    /// The listener broke.
    #[error("the admission server stopped: {0}")]
    Serve(#[from] io::Error),
}

impl App {
    /// A handler for `policy`.
    pub fn new(policy: Policy, metrics: Metrics) -> Self {
        Self {
            policy,
            metrics,
            permits: Semaphore::new(MOST_AT_ONCE),
            judge: admit,
        }
    }
}

/// The one route. A panic becomes a 500, which the API server treats as a failed call.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(PATH, post(inject))
        .with_state(app)
        .layer(CatchPanicLayer::new())
}

async fn inject(State(app): State<Arc<App>>, request: Request) -> Response {
    let started = Instant::now();
    match answer(&app, request, started).await {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err((failure, why)) => {
            app.metrics.failed(failure);
            warn!(failure = failure.as_str(), "request refused: {why}");
            (status(failure), format!("{why}\n")).into_response()
        }
    }
}

const fn status(failure: Failure) -> StatusCode {
    match failure {
        Failure::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Failure::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Failure::Malformed => StatusCode::BAD_REQUEST,
        Failure::Slow => StatusCode::REQUEST_TIMEOUT,
        Failure::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn answer(
    app: &App,
    request: Request,
    started: Instant,
) -> Result<Vec<u8>, (Failure, String)> {
    let too_large = || {
        (
            Failure::TooLarge,
            format!("the body has more than {LONGEST_BODY} bytes"),
        )
    };
    check_content_type(request.headers())?;
    if declared_length(request.headers()).is_some_and(|length| length > LONGEST_BODY) {
        return Err(too_large());
    }
    let busy = |_| {
        (
            Failure::Overloaded,
            format!("{MOST_AT_ONCE} reviews are being answered; try again"),
        )
    };
    let _permit = app.permits.try_acquire().map_err(busy)?;
    let body = timeout(READ_TIME, read(request.into_body())).await;
    let slow = |_| {
        (
            Failure::Slow,
            format!(
                "the body did not arrive within {} ms",
                READ_TIME.as_millis()
            ),
        )
    };
    let body = body.map_err(slow)?.map_err(|_| too_large())?;
    let malformed = |why: &dyn std::fmt::Display| (Failure::Malformed, why.to_string());
    let review = Review::parse(&body).map_err(|why| malformed(&why))?;
    let verdict = if review.is_pod_creation {
        (app.judge)(&review.object, &app.policy, &Namespace::default())
            .map_err(|why| malformed(&why))?
    } else {
        Verdict::not_a_pod_creation()
    };
    note(&review, &verdict.decision);
    let body = Answer::new(review.uid, &verdict).and_then(|answer| answer.to_json());
    let body = body.map_err(|why| malformed(&why))?;
    app.metrics.decided(
        verdict.decision.as_str(),
        verdict.decision.reason(),
        started.elapsed(),
    );
    Ok(body)
}

/// Reads the body, up to the longest one there is.
async fn read(body: Body) -> Result<axum::body::Bytes, axum::Error> {
    to_bytes(body, LONGEST_BODY).await
}

fn check_content_type(headers: &HeaderMap) -> Result<(), (Failure, String)> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err((
        Failure::ContentType,
        format!("content type {given:?} is not application/json"),
    ))
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

fn note(review: &Review, decision: &Decision) {
    let (namespace, pod) = (&review.namespace, &review.name);
    match decision {
        Decision::Deny(_, faults) => info!(
            namespace,
            pod,
            decision = "deny",
            faults = faults.join("; "),
            "reviewed"
        ),
        Decision::Inject => info!(namespace, pod, decision = "inject", "reviewed"),
        Decision::Skip(reason) => debug!(
            namespace,
            pod,
            decision = "skip",
            reason = reason.as_str(),
            "reviewed"
        ),
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
    Ok(Arc::new(config))
}

/// Serves until `token` is cancelled, then goes on for [`LINGER`] and drains.
///
/// # Errors
/// [`ServeError`] if the listener or TLS fail.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    live: Arc<LiveCertificate>,
    token: CancellationToken,
) -> Result<(), ServeError> {
    let handle = Handle::new();
    let config = RustlsConfig::from_config(tls(live)?);
    let mut server =
        axum_server::from_tcp_rustls(listener, config)?.map(|a| a.handshake_timeout(PATIENCE));
    server.http_builder().http1().header_read_timeout(PATIENCE);
    let keep_alive = Duration::from_secs(20);
    server
        .http_builder()
        .http2()
        .max_concurrent_streams(250)
        .keep_alive_interval(keep_alive)
        .keep_alive_timeout(PATIENCE);
    let server = server
        .first_request_timeout(PATIENCE)
        .handle(handle.clone());
    let serving = server.serve(router.into_make_service());
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return Ok(ended?),
        () = async { token.cancelled().await; tokio::time::sleep(LINGER).await } => {}
    }
    handle.graceful_shutdown(Some(DRAIN));
    Ok(serving.await?)
}

/// Takes the admission port.
///
/// # Errors
/// [`ServeError::Bind`] where the address is taken, foreign or forbidden.
pub fn bind(address: std::net::SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).map_err(|source| ServeError::Bind { address, source })
}

#[cfg(test)]
mod tests;
