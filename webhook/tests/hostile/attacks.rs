//! What callers do that mean harm.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::StreamExt;
use http::Request;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::client::Target;
use super::honest;
use super::scene::is_long;

/// Sixty-four kilobytes of what JSON lets stand anywhere.
static SPACES: [u8; 65_536] = [b' '; 65_536];

/// How HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// POST https /inject from the static table, with a literal authority.
const HEAD: &[u8] = b"\x83\x87\x04\x07/inject\x01\x07webhook";

type Act = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// Something that many do at once, and again after a while.
pub(crate) struct Attack {
    attackers: usize,
    pause: Duration,
    act: Arc<dyn Fn(Target, usize) -> Act + Send + Sync>,
}

/// An attack that goes on.
pub(crate) struct Going(JoinHandle<()>, tokio::runtime::Handle);

impl Going {
    /// Waits until the last attacker has given up.
    pub(crate) fn wait(self) {
        self.1.block_on(self.0).unwrap();
    }
}

impl Attack {
    fn new<F>(
        attackers: usize,
        pause: u64,
        act: impl Fn(Target, usize) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        Self {
            attackers,
            pause: Duration::from_millis(pause),
            act: Arc::new(move |target, number| Box::pin(act(target, number))),
        }
    }

    /// Lets all of them begin; they go on until `end`.
    pub(crate) fn begin(
        &self,
        runtime: &Runtime,
        target: &Target,
        end: &CancellationToken,
    ) -> Going {
        let mut all = JoinSet::new();
        for number in 0..self.attackers {
            let (act, pause) = (Arc::clone(&self.act), self.pause);
            let (target, end) = (target.clone(), end.clone());
            let attacker = async move {
                // Spread out, as strangers are.
                let mut wait = pause * u32::try_from(number % 100).unwrap_or_default() / 100;
                loop {
                    tokio::select! {
                        () = end.cancelled() => break,
                        _ = async { sleep(wait).await; act(target.clone(), number).await } => wait = pause,
                    }
                }
            };
            all.spawn_on(attacker, runtime.handle());
        }
        let wait = runtime.spawn(async move { drop(all.join_all().await) });
        Going(wait, runtime.handle().clone())
    }

    /// Opens a connection and says nothing, one in ten over TLS.
    pub(crate) fn idle() -> Self {
        let (attackers, pause) = if is_long() {
            (10_000, 2_000)
        } else {
            (1_000, 1_000)
        };
        Self::new(attackers, pause, async |target, number| {
            if number % 10 == 0 {
                until_closed(&mut target.tls("h2").await?).await
            } else {
                until_closed(&mut target.tcp().await?).await
            }
        })
    }

    /// Sends the beginning of a `ClientHello`, which says that 512 bytes will come.
    pub(crate) fn half_handshake() -> Self {
        Self::new(500, 500, async |target, _| {
            let mut stream = target.tcp().await?;
            stream
                .write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 7, 7, 7])
                .await?;
            until_closed(&mut stream).await
        })
    }

    /// Sends a head of HTTP/1.1 that never ends.
    pub(crate) fn slow_head() -> Self {
        Self::new(100, 200, async |target, _| {
            let mut stream = target.tls("http/1.1").await?;
            stream
                .write_all(b"POST /inject HTTP/1.1\r\nHost: webhook\r\nX: ")
                .await?;
            loop {
                stream.write_all(b"x").await?;
                stream.flush().await?;
                sleep(Duration::from_millis(100)).await;
            }
        })
    }

    /// Opens all streams that a connection may have, and sends a beginning on each.
    pub(crate) fn stalled_body() -> Self {
        Self::new(if is_long() { 100 } else { 10 }, 100, async |target, _| {
            let connection = target.http2().await?;
            let mut streams = JoinSet::new();
            for _ in 0..100 {
                streams.spawn(post(connection.clone(), never_ending()));
            }
            while let Some(answered) = streams.join_next().await {
                answered.map_err(io::Error::other)??;
            }
            Ok(())
        })
    }

    /// Keeps more connections than there are places, on each of which something is always being answered.
    pub(crate) fn all_places_busy() -> Self {
        Self::new(300, 500, async |target, _| {
            let connection = target.http2().await?;
            loop {
                post(connection.clone(), never_ending()).await?;
            }
        })
    }

    /// The same from four addresses, none of which alone takes more than a quarter of the places.
    pub(crate) fn all_places_busy_from_four() -> Self {
        Self::new(300, 500, async |target, number| {
            let connection = target.of_stranger(number % 4).http2().await?;
            loop {
                post(connection.clone(), never_ending()).await?;
            }
        })
    }

    /// Asks once, from a hundred addresses, as an API server might, and does not go when asked to.
    pub(crate) fn staying() -> Self {
        Self::new(400, 100, async |target, number| {
            let mut stream = target.of_stranger(number % 100).tls("h2").await?;
            let hello = [PREFACE, &frame(4, 0, 0, &[]), &frame(1, 5, 1, HEAD)].concat();
            // It takes what comes, and answers nothing.
            send(&mut stream, &hello).await
        })
    }

    /// Asks as much as a connection may, and reads none of the answers.
    pub(crate) fn unread() -> Self {
        Self::reading(0)
    }

    /// The same, but for the first byte of each.
    pub(crate) fn a_byte_read() -> Self {
        Self::reading(1)
    }

    fn reading(bytes: u32) -> Self {
        let attackers = if is_long() { 300 } else { 50 };
        Self::new(attackers, 500, move |target: Target, _| async move {
            let connection = target.http2_that_reads(bytes).await?;
            let mut streams = JoinSet::new();
            for _ in 0..100 {
                streams.spawn(post(connection.clone(), Body::from(honest::REVIEW)));
            }
            while let Some(answered) = streams.join_next().await {
                answered.map_err(io::Error::other)??;
            }
            Ok(())
        })
    }

    /// Declares 100 MB, and sends as much of it as is taken.
    pub(crate) fn declared() -> Self {
        Self::new(8, 20, async |target, _| {
            let mut stream = target.tls("http/1.1").await?;
            stream
                .write_all(
                    b"POST /inject HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\n\
                      Content-Length: 104857600\r\n\r\n",
                )
                .await?;
            for _ in 0..1_600 {
                stream.write_all(&SPACES).await?;
            }
            until_closed(&mut stream).await
        })
    }

    /// Sends 100 MB without having said so.
    pub(crate) fn undeclared() -> Self {
        Self::new(4, 20, async |target, _| {
            let chunk = Ok::<_, Infallible>(Bytes::from_static(&SPACES));
            let body = futures::stream::repeat(chunk).take(1_600);
            post(target.http2().await?, Body::from_stream(body)).await
        })
    }

    /// Opens streams and resets each at once.
    pub(crate) fn reset_flood() -> Self {
        Self::new(4, 10, async |target, _| {
            let mut stream = target.tls("h2").await?;
            stream
                .write_all(&[PREFACE, &frame(4, 0, 0, &[])].concat())
                .await?;
            let mut batches = (1_u32..).step_by(2);
            loop {
                let mut batch = Vec::new();
                for id in batches.by_ref().take(100) {
                    batch.extend(frame(1, 4, id, HEAD));
                    batch.extend(frame(3, 0, id, &8_u32.to_be_bytes()));
                }
                stream.write_all(&batch).await?;
                stream.flush().await?;
            }
        })
    }

    /// Sends nonsense: instead of TLS, instead of HTTP, and instead of a review.
    pub(crate) fn garbage() -> Self {
        Self::new(12, 10, async |target, number| {
            let noise = noise(number);
            match number % 3 {
                0 => send(&mut target.tcp().await?, &noise).await,
                1 => send(&mut target.tls("h2").await?, &noise).await,
                _ => post(target.http2().await?, Body::from(noise)).await,
            }
        })
    }

    /// Posts reviews of just below 7 MiB whose pods take far more room once they are read.
    pub(crate) fn unfolding() -> Self {
        let many = |piece: &str| vec![piece; 6_900_000 / (piece.len() + 1)].join(",");
        let bodies = [
            format!("\"x\":[{}]", many("0")),
            format!("\"spec\":{{\"containers\":[{}]}}", many("{}")),
            format!("\"spec\":{{\"volumes\":[{}]}}", many("{}")),
            "[".repeat(6_900_000),
        ];
        let bodies = bodies.map(|object| {
            Bytes::from(format!(
                "{{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\",\"request\":{{\"uid\":\"u\",\
                 \"kind\":{{\"group\":\"\",\"version\":\"v1\",\"kind\":\"Pod\"}},\"operation\":\"CREATE\",\
                 \"object\":{{{object}}}}}}}"
            ))
        });
        Self::new(4, 20, move |target, number| {
            let body = bodies[number % bodies.len()].clone();
            async move { post(target.http2().await?, Body::from(body)).await }
        })
    }
}

/// The beginning of a review, and then nothing.
fn never_ending() -> Body {
    let start = Ok::<_, Infallible>(Bytes::from_static(b"{\"apiVersion\":"));
    Body::from_stream(futures::stream::iter([start]).chain(futures::stream::pending()))
}

async fn until_closed(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<()> {
    let mut heard = [0; 1024];
    while stream.read(&mut heard).await? > 0 {}
    Ok(())
}

async fn send(
    stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin),
    bytes: &[u8],
) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    until_closed(stream).await
}

/// Posts a body, and takes whatever the answer is.
async fn post(
    mut connection: hyper::client::conn::http2::SendRequest<Body>,
    body: Body,
) -> io::Result<()> {
    let request = Request::post("https://webhook/inject?timeout=2s")
        .header("content-type", "application/json");
    let request = request.body(body).unwrap();
    connection.ready().await.map_err(io::Error::other)?;
    let answer = connection
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    answer
        .into_body()
        .collect()
        .await
        .map_err(io::Error::other)?;
    Ok(())
}

/// A frame of HTTP/2: length, type, flags, stream, payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head, &stream.to_be_bytes()[..], payload].concat()
}

/// The same nonsense every time (xorshift).
fn noise(seed: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ seed as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..512).flat_map(|_| next()).collect()
}
