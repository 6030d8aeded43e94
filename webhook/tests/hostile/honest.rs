//! Callers that mean well, and how they fare.

use std::io;
use std::time::{Duration, Instant};

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::client::conn::http2::SendRequest;
use tokio::task::JoinSet;
use tokio::time::interval;

use super::client::Target;

pub(crate) const REVIEW: &[u8] = include_bytes!("../../benches/review.json");

/// What an honest caller asks per second, on its one connection.
const RATE: u32 = 200;

/// How often another one connects and asks once.
const NEWCOMER: Duration = Duration::from_millis(100);

/// What honest callers saw.
#[derive(Default)]
pub(crate) struct Seen {
    /// How long each answer took, on the connection that was there.
    pub(crate) answers: Vec<Duration>,
    /// How long connecting and the first answer took together.
    pub(crate) newcomers: Vec<Duration>,
    /// What went wrong.
    pub(crate) faults: Vec<String>,
}

impl Seen {
    pub(crate) fn add(&mut self, other: Self) {
        self.answers.extend(other.answers);
        self.newcomers.extend(other.newcomers);
        self.faults.extend(other.faults);
    }
}

/// The smallest time that `percent` of `times` do not exceed.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[(times.len() * percent).div_ceil(100) - 1]
}

/// Asks for `time`, at a rate that does not wait for answers.
pub(crate) async fn ask(target: &Target, connection: &SendRequest<Body>, time: Duration) -> Seen {
    let (mut seen, mut asked, mut came) = (Seen::default(), JoinSet::new(), JoinSet::new());
    let (mut next, mut newcomer) = (interval(Duration::from_secs(1) / RATE), interval(NEWCOMER));
    let end = Instant::now() + time;
    while Instant::now() < end {
        tokio::select! {
            _ = next.tick() => {
                let connection = connection.clone();
                asked.spawn(async move { injected(connection).await });
            }
            _ = newcomer.tick() => {
                let target = target.clone();
                came.spawn(async move {
                    let start = Instant::now();
                    injected(target.http2().await?).await?;
                    Ok(start.elapsed())
                });
            }
        }
    }
    for outcome in asked.join_all().await {
        match outcome {
            Ok(took) => seen.answers.push(took),
            Err(why) => seen.faults.push(format!("on its connection: {why:?}")),
        }
    }
    for outcome in came.join_all().await {
        match outcome {
            Ok(took) => seen.newcomers.push(took),
            Err::<_, io::Error>(why) => seen.faults.push(format!("on a new connection: {why:?}")),
        }
    }
    seen
}

/// One review, which must come back with a patch.
async fn injected(mut connection: SendRequest<Body>) -> io::Result<Duration> {
    let request = Request::post("https://webhook/inject?timeout=2s")
        .header("content-type", "application/json")
        .header("content-length", REVIEW.len())
        .body(Body::from(REVIEW))
        .unwrap();
    let start = Instant::now();
    connection.ready().await.map_err(io::Error::other)?;
    let answer = connection
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let status = answer.status();
    let body = answer
        .into_body()
        .collect()
        .await
        .map_err(io::Error::other)?;
    let took = start.elapsed();
    let body = body.to_bytes();
    if status != StatusCode::OK || !body.windows(9).any(|part| part == b"JSONPatch") {
        let body = String::from_utf8_lossy(&body).into_owned();
        return Err(io::Error::other(format!("{status}: {body}")));
    }
    Ok(took)
}
