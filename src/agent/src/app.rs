//! Asking the application for the length of its own queue.
//!
//! Loopback only, one GET, no redirects. An application that answers slowly,
//! endlessly or nonsense costs itself the signal and the agent nothing.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use mbcas_core::annotations::AppMetrics;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::exposition::{ExpositionError, Sum};

/// Time for the whole answer.
pub const DEADLINE: Duration = Duration::from_millis(500);

/// The most that is read of an answer, in bytes.
pub const BODY_MAX: usize = 1024 * 1024;

/// The most that one connection buffers, in bytes; also the longest head.
const BUFFER: usize = 16 * 1024;

/// Why the application's queue is unknown.
#[derive(Debug, Error)]
pub enum AppError {
    /// Nobody listens there.
    #[error(
        "cannot connect to port {port} on localhost ({source}); is the port in mbcas.metrics the application's?"
    )]
    Connect {
        /// The port.
        port: u16,
        /// What the kernel says.
        source: io::Error,
    },
    /// It does not speak HTTP.
    #[error(
        "the application's answer is not HTTP ({0}); is the port in mbcas.metrics the metrics port?"
    )]
    Http(#[from] hyper::Error),
    /// The request cannot be made.
    #[error("the path in mbcas.metrics makes no request ({0})")]
    Request(#[from] hyper::http::Error),
    /// It answers something else than 200. Redirects are not followed: they could lead out of the pod.
    #[error("the application answers {0}; is the path in mbcas.metrics right?")]
    Status(StatusCode),
    /// It answers more than any page of metrics holds.
    #[error("the application's answer has more than {BODY_MAX} bytes")]
    TooLarge,
    /// The answer is complete and useless.
    #[error("{0}; is the metric in mbcas.metrics right?")]
    Exposition(#[from] ExpositionError),
    /// It takes too long.
    #[error("the application did not answer within {} ms", DEADLINE.as_millis())]
    Late,
}

/// The length of the application's queue, rounded to whole requests.
///
/// # Errors
/// [`AppError`]; never later than [`DEADLINE`].
pub async fn waiting(source: &AppMetrics) -> Result<u64, AppError> {
    let sum = timeout(DEADLINE, ask(source))
        .await
        .map_err(|_| AppError::Late)??;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    // saturates, and is not negative
    Ok(sum.round() as u64)
}

async fn ask(source: &AppMetrics) -> Result<f64, AppError> {
    let local: [SocketAddr; 2] = [
        (Ipv4Addr::LOCALHOST, source.port).into(),
        (Ipv6Addr::LOCALHOST, source.port).into(),
    ];
    let stream = TcpStream::connect(&local[..])
        .await
        .map_err(|why| AppError::Connect {
            port: source.port,
            source: why,
        })?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(BUFFER)
        .handshake(TokioIo::new(stream))
        .await?;
    let request = Request::get(source.path.as_str())
        .header(header::HOST, format!("localhost:{}", source.port))
        .header(header::ACCEPT, "text/plain;version=0.0.4")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let conversation = async {
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(AppError::Status(answer.status()));
        }
        add_up(answer.into_body(), &source.metric).await
    };
    // The connection is driven here and not by a task of its own, so that it ends with the deadline.
    let mut connection = std::pin::pin!(connection);
    let mut conversation = std::pin::pin!(conversation);
    tokio::select! {
        sum = conversation.as_mut() => sum,
        ended = connection.as_mut() => {
            ended?;
            conversation.await
        }
    }
}

async fn add_up(mut body: hyper::body::Incoming, metric: &str) -> Result<f64, AppError> {
    let mut sum = Sum::of(metric);
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let Ok(part) = frame?.into_data() else {
            continue;
        };
        total += part.len();
        if total > BODY_MAX {
            return Err(AppError::TooLarge);
        }
        sum.push(&part)?;
    }
    Ok(sum.finish()?)
}

#[cfg(test)]
mod tests;
