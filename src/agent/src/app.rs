//! Asking the application how long its own queue is, and how long its requests take.
//!
//! Loopback only, one GET, no redirects. An application that answers slowly,
//! endlessly or nonsense costs itself the signal and the agent nothing.
//!
//! A question that nobody has accepted is left open, and no other one is asked meanwhile: one that is closed
//! stays in the application's accept queue all the same, so they would pile up there and look like demand.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use mbcas_core::annotations::{AppMetrics, Format};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::board::Board;
use crate::exposition::{Buckets, ExpositionError, Histogram, Sum};
use crate::json::{JsonError, number_at};
use crate::pace::metered;
use crate::sockets::AcceptQueue;

/// Time for the whole answer.
pub const DEADLINE: Duration = Duration::from_millis(500);

/// The most CPU that an answer may take, of whatever size. One of a mebibyte takes some 6 ms.
pub const CPU_MOST: Duration = Duration::from_millis(50);

/// The most that is read of an answer, in bytes.
pub const BODY_MAX: usize = 1024 * 1024;

/// The same in JSON, which is held in memory as a whole.
pub const JSON_MAX: usize = 64 * 1024;

/// The most that one connection buffers, in bytes; also the longest head.
const BUFFER: usize = 16 * 1024;

/// Why what the application says is unknown.
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
    #[error("the application's answer has more than {0} bytes")]
    TooLarge(usize),
    /// The answer is complete and useless.
    #[error("{0}; is the metric in mbcas.metrics right?")]
    Exposition(#[from] ExpositionError),
    /// The same for JSON.
    #[error("{0}; is the pointer in mbcas.metrics right?")]
    Json(#[from] JsonError),
    /// It takes too long.
    #[error("the application did not answer within {} ms", DEADLINE.as_millis())]
    Late,
    /// It takes too much of the agent's own CPU.
    #[error(
        "the application's answer takes more than {} ms of CPU to read; is there a shorter page than the one in mbcas.metrics?",
        CPU_MOST.as_millis()
    )]
    Dear,
}

/// What an answer says. Each part is absent where it was not asked for, and by itself wrong.
#[derive(Debug)]
pub struct Answer {
    /// Requests that wait.
    pub queue: Option<Result<u64, AppError>>,
    /// How long requests take.
    pub latency: Option<Result<Latency, AppError>>,
}

/// How long requests take, as the application says it.
#[derive(Debug, PartialEq)]
pub enum Latency {
    /// By a histogram of all requests ever, in seconds.
    Histogram(Histogram),
    /// The 99th percentile itself, in seconds.
    Seconds(f64),
}

/// Asks one question after the other.
#[derive(Debug)]
pub struct Questions<'a> {
    source: &'a AppMetrics,
    board: &'a Board,
    /// The connection of a question without an answer.
    open: Option<OwnedFd>,
    /// Kept, because it warns once where it has to read another way.
    accept: AcceptQueue,
}

impl<'a> Questions<'a> {
    /// Has not asked yet.
    pub fn new(source: &'a AppMetrics, board: &'a Board) -> Self {
        Self {
            source,
            board,
            open: None,
            accept: AcceptQueue::new(),
        }
    }

    /// Asks, unless the last question still waits to be accepted; and the CPU that it took.
    pub async fn ask(&mut self) -> (Result<Answer, AppError>, Duration) {
        let (outcome, cost) = metered(CPU_MOST, async {
            if self.is_waiting() {
                return Err(AppError::Late);
            }
            let Ok(outcome) = timeout(DEADLINE, self.converse()).await else {
                return Err(AppError::Late);
            };
            self.keep(None);
            outcome
        })
        .await;
        if !self.is_waiting() {
            self.keep(None);
        }
        (outcome.unwrap_or(Err(AppError::Dear)), cost)
    }

    fn keep(&mut self, open: Option<OwnedFd>) {
        self.board.put_asking(open.is_some());
        self.open = open;
    }

    /// Whether the last question has no answer, nor an end, and may still be in the application's accept queue.
    fn is_waiting(&mut self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let is_silent = |open| recv(open, &mut [0; 1], flags).err() == Some(Errno::AGAIN);
        let is_ours = |port| port == self.source.port;
        self.open.as_ref().is_some_and(is_silent)
            && self
                .accept
                .waiting(is_ours)
                .is_ok_and(|waiting| waiting > Some(0))
    }

    async fn converse(&mut self) -> Result<Answer, AppError> {
        let source = self.source;
        self.board.put_asking(true);
        let local = [
            (Ipv4Addr::LOCALHOST, source.port).into(),
            (Ipv6Addr::LOCALHOST, source.port).into(),
        ];
        let stream = connect(local).await.map_err(|why| AppError::Connect {
            port: source.port,
            source: why,
        })?;
        self.keep(stream.as_fd().try_clone_to_owned().ok());
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(stream))
            .await?;
        let request = Request::get(source.path.as_str())
            .header(header::HOST, format!("localhost:{}", source.port))
            .header(header::ACCEPT, accepted(source.format))
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())?;
        let conversation = async {
            let answer = sender.send_request(request).await?;
            self.keep(None);
            if answer.status() != StatusCode::OK {
                return Err(AppError::Status(answer.status()));
            }
            read(answer.into_body(), source).await
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
}

/// Connects to the first address that takes it. What the first one says is why none does: the others may be off.
async fn connect(addresses: [SocketAddr; 2]) -> io::Result<TcpStream> {
    let [first, second] = addresses;
    match TcpStream::connect(first).await {
        Ok(stream) => Ok(stream),
        Err(why) => TcpStream::connect(second).await.map_err(|_| why),
    }
}

/// Whole requests.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and is not negative
fn whole(requests: f64) -> u64 {
    requests.round() as u64
}

const fn accepted(format: Format) -> &'static str {
    match format {
        Format::Prometheus => "text/plain;version=0.0.4",
        Format::Json => "application/json",
    }
}

async fn read(body: Incoming, source: &AppMetrics) -> Result<Answer, AppError> {
    let (queue, latency) = (source.queue.as_ref(), source.latency.as_deref());
    match source.format {
        Format::Prometheus => {
            // A part that has failed is read no further, and the other one is.
            let mut sum = queue.map(|queue| Ok(Sum::of(&queue.metric)));
            let mut buckets = latency.map(|name| Ok(Buckets::of(name)));
            for_each_part(body, BODY_MAX, |part| {
                go_on(&mut sum, |sum| sum.push(part));
                go_on(&mut buckets, |buckets| buckets.push(part));
            })
            .await?;
            let whole_sum = |sum: Sum<'_>| Ok(whole(sum.finish()?));
            let histogram = |buckets: Buckets| Ok(Latency::Histogram(buckets.finish()?));
            Ok(Answer {
                queue: sum
                    .map(|sum| sum.map_err(AppError::from).and_then(whole_sum))
                    .zip(queue)
                    .map(|(sum, queue)| sum.map(|sum| queue.waiting(sum))),
                latency: buckets.map(|all| all.map_err(AppError::from).and_then(histogram)),
            })
        }
        Format::Json => {
            let mut text = Vec::new();
            for_each_part(body, JSON_MAX, |part| text.extend_from_slice(part)).await?;
            let seconds = |pointer| Ok(Latency::Seconds(number_at(&text, pointer)?));
            Ok(Answer {
                queue: queue
                    .map(|queue| Ok(queue.waiting(whole(number_at(&text, &queue.metric)?)))),
                latency: latency.map(seconds),
            })
        }
    }
}

fn go_on<T>(
    reader: &mut Option<Result<T, ExpositionError>>,
    push: impl FnOnce(&mut T) -> Result<(), ExpositionError>,
) {
    if let Some(Ok(working)) = reader
        && let Err(why) = push(working)
    {
        *reader = Some(Err(why));
    }
}

async fn for_each_part(
    mut body: Incoming,
    most: usize,
    mut each: impl FnMut(&[u8]),
) -> Result<(), AppError> {
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let Ok(part) = frame?.into_data() else {
            continue;
        };
        total += part.len();
        if total > most {
            return Err(AppError::TooLarge(most));
        }
        each(&part);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
