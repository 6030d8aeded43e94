//! Plain HTTP/1.1 for small answers. What a client can hold is bounded: a
//! number of connections, a time to send a request's head, a lifetime.
//!
//! `axum::serve` has none of these bounds, and the ports served here are open to
//! every pod of the cluster.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::{debug, warn};

/// Pause after a failure to accept that is not the client's, such as no free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What clients may hold of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time. Further ones wait in the kernel's accept queue.
    pub connections: usize,
    /// Time to send the head of a request; also how long a connection may idle.
    pub head: Duration,
    /// Time from accept to close, whatever happens in between.
    pub lifetime: Duration,
}

impl Default for Limits {
    /// For ports that probes and scrapers read: 64 connections, 5 s for a head, 60 s in all.
    fn default() -> Self {
        Self {
            connections: 64,
            head: Duration::from_secs(5),
            lifetime: Duration::from_mins(1),
        }
    }
}

/// Serves `router` until `token` is cancelled, then lets the requests that have begun come to their end.
///
/// Nothing that a client or the network does ends it.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    token: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = token.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, place)) => {
                let (router, token) = (router.clone(), token.clone());
                connections.spawn(async move {
                    if timeout(
                        limits.lifetime,
                        converse(stream, router, limits.head, token),
                    )
                    .await
                    .is_err()
                    {
                        debug!("closed a connection at the end of its lifetime");
                    }
                    drop(place);
                });
            }
            Err(why) if is_the_clients(&why) => {
                debug!(%why, "a connection was gone before it was accepted");
            }
            Err(why) => {
                warn!(%why, "no connection can be accepted; trying again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

fn is_the_clients(why: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        why.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

async fn converse(stream: TcpStream, router: Router, head: Duration, token: CancellationToken) {
    let service = service_fn(move |request| router.clone().call(request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = token.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(why) = ended {
        debug!(%why, "a connection ended badly");
    }
}

#[cfg(test)]
mod tests;
