//! From the listener to the routes, and the way out.

use std::convert::Infallible;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use mbcas_certs::LiveCertificate;
use rustix::net::sockopt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::{debug, warn};

use super::connections::{Connections, Place, SWEEP};
use super::gather::{self, Gather};
use super::lobby::Lobby;
use super::requests::{Attended, Requests};
use super::unread::Unread;
use super::{ServeError, tls};
use crate::metrics::Metrics;

/// How long new connections are accepted after the order to end: endpoints
/// leave a Service only some time after their pod was told.
pub const LINGER: Duration = Duration::from_secs(5);

/// How long running requests may take after that.
pub const DRAIN: Duration = Duration::from_secs(5);

/// How long a connection without requests may take to say good-bye.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// How long what was sent may stay unread, or not even be acknowledged.
const UNREAD: Duration = Duration::from_secs(5);

/// How long a request's head may take on HTTP/1.1, and a ping's answer on HTTP/2.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a connection on HTTP/2 is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);

/// How long nothing is accepted after accepting failed: usually there are no file descriptors left.
const BREATH: Duration = Duration::from_millis(50);

/// The most requests on one connection. Fewer than 100 is what clients do not expect.
const STREAMS: u32 = 100;

/// How much of one body, and of one connection's bodies, may arrive before it is
/// read: some 40 usual reviews.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// The longest head of a request.
const LONGEST_HEAD: usize = 16 * 1024;

/// How many streams may wait that the peer opened and reset at once; more of them end the connection.
const RESETS: usize = 20;

/// Serves until `token` is cancelled, then goes on for [`LINGER`] and drains.
///
/// # Errors
/// [`ServeError`] if the listener or TLS cannot be set up.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    live: Arc<LiveCertificate>,
    metrics: Metrics,
    token: CancellationToken,
) -> Result<(), ServeError> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let closing = CancellationToken::new();
    let server = Arc::new(Server {
        tls: TlsAcceptor::from(tls(live)?),
        router,
    });
    let connections = Connections::new(closing.clone(), metrics);
    let (lobby, _open) = Lobby::open()?;
    let mut end = pin!(async {
        token.cancelled().await;
        sleep(LINGER).await;
    });
    let mut sweep = interval(SWEEP);
    // What happened since the last one would be two sweeps ago if two came at once.
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut bounded = pin!(connections.keep_bounded());
    loop {
        tokio::select! {
            () = &mut end => break,
            _ = sweep.tick() => connections.sweep(),
            never = &mut bounded => match never {},
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => if let Some(place) = connections.enter(peer.ip()) {
                    let (doing, known) = (place.life(), place.known());
                    let attended = Arc::clone(&server).attend(stream, place);
                    lobby.attend(doing.begin(attended), known);
                },
                Err(why) => {
                    warn!("cannot accept a connection: {why}");
                    sleep(BREATH).await;
                }
            },
        }
    }
    drop(listener);
    closing.cancel();
    let drained = tokio::select! {
        drained = timeout(DRAIN, lobby.is_empty()) => drained.is_ok(),
        never = &mut bounded => match never {},
    };
    if !drained {
        warn!(
            connections = lobby.len(),
            "some requests were not answered before the end"
        );
    }
    Ok(())
}

struct Server {
    tls: TlsAcceptor,
    router: Router,
}

impl Server {
    /// One connection, from its handshake to its end.
    async fn attend(self: Arc<Self>, stream: TcpStream, place: Place) {
        // Answers are gathered already; nothing is gained by waiting for more.
        let _ = stream.set_nodelay(true);
        // Answers that nobody reads are not kept for ever either.
        let unread = u32::try_from(UNREAD.as_millis()).unwrap_or(u32::MAX);
        let _ = sockopt::set_tcp_user_timeout(&stream, unread);
        let accept = self.tls.accept_with(Gather::new(stream), |tls| {
            tls.set_buffer_limit(Some(gather::MOST));
        });
        let stream = tokio::select! {
            () = place.told_to_leave() => return,
            stream = accept.into_fallible() => match stream {
                Ok(stream) => stream,
                Err((why, mut stream)) => {
                    debug!("handshake failed: {why}");
                    // The alert that tells the caller why.
                    let _ = timeout(FAREWELL, stream.shutdown()).await;
                    return;
                }
            },
        };
        let service = service_fn(|request: Request<Incoming>| {
            let asking = place.ask();
            let answer = self.router.clone().call(request);
            async move {
                let answer = answer.await?;
                let bytes = answer.body().size_hint().lower();
                let bytes = usize::try_from(bytes).unwrap_or_default();
                let held = asking.answered(bytes, answer.status().is_success());
                Ok::<_, Infallible>(answer.map(|body| Unread::new(body, held)))
            }
        });
        let requests = Requests::default();
        let http = http(requests.clone());
        let connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        let mut connection = Attended::new(connection, &place, requests);
        tokio::select! {
            _ = &mut connection => return,
            () = place.told_to_leave() => {}
        }
        let patience = place.patience();
        if patience.is_zero() {
            return;
        }
        connection.connection().graceful_shutdown();
        let _ = timeout(patience, connection).await;
    }
}

/// HTTP with bounds on everything that a peer decides.
fn http(requests: Requests) -> Builder<Requests> {
    let mut http = Builder::new(requests);
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(LONGEST_HEAD);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(16 * 1024)
        .max_send_buf_size(256 * 1024)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PATIENCE);
    http
}
