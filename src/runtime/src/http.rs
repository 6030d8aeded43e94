//! Plain HTTP/1.1 for small answers. What a client can hold is bounded: a
//! number of connections, a time to send a request's head, a lifetime.
//!
//! `axum::serve` has none of these bounds, and the ports served here are open to
//! every pod of the cluster.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::{debug, warn};

/// Pause after a failure to accept that is not the client's, such as no free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What clients may hold of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, at least one. A further one takes the place of the oldest.
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
/// Where all places are taken, a new connection takes that of the oldest: an
/// honest one is done in a moment, so the oldest is one that only holds its place.
/// Nothing that a client or the network does ends it.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    token: CancellationToken,
) {
    let mut connections = JoinSet::new();
    let mut places: VecDeque<AbortHandle> = VecDeque::with_capacity(limits.connections);
    loop {
        let accepted = tokio::select! {
            () = token.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                places.retain(|place| !place.is_finished());
                while places.len() >= limits.connections.max(1) {
                    if let Some(oldest) = places.pop_front() {
                        debug!("closing the oldest connection for a new one");
                        oldest.abort();
                    }
                }
                let conversation = converse(stream, router.clone(), limits, token.clone());
                places.push_back(connections.spawn(conversation));
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

fn is_the_clients(why: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        why.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

async fn converse(stream: TcpStream, router: Router, limits: Limits, token: CancellationToken) {
    let service = service_fn(move |request| router.clone().call(request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let conversation = async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = token.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    match timeout(limits.lifetime, conversation).await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => debug!(%why, "a connection ended badly"),
        Err(_) => debug!("closed a connection at the end of its lifetime"),
    }
}

#[cfg(test)]
mod tests;
