//! One path: what is sent to it is read within bounds, judged, and answered
//! while the caller still waits.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use tokio::time::Instant;
use tracing::{debug, info};

use super::body::{self, Room};
use super::deadline;
use crate::metrics::{Failure, Metrics};
use crate::review::{Answer, Object, Review, ReviewError};

/// What is answered to a body of a path, or why nothing is.
type Judge = dyn Fn(&[u8]) -> Result<Judged, ReviewError> + Send + Sync;

/// An answer, and its text.
struct Judged {
    answer: Answer,
    json: String,
}

/// A path and what is answered on it.
pub(super) struct Route {
    path: &'static str,
    judge: Box<Judge>,
    room: Arc<Room>,
    metrics: Metrics,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Why a request is not answered: which failure it is, and in words.
type Refusal = (Failure, String);

impl Route {
    /// Answers what is sent to `path` with what `judge` says about the review.
    pub(super) fn new<T: Object>(
        path: &'static str,
        judge: impl Fn(&Review<T>) -> Result<Answer, ReviewError> + Send + Sync + 'static,
        room: Arc<Room>,
        metrics: Metrics,
    ) -> Self {
        let judge = move |body: &[u8]| {
            let review = Review::parse(body)?;
            let answer = judge(&review)?;
            note(path, &review, &answer);
            let json = answer.to_json(&review.uid);
            Ok(Judged { answer, json })
        };
        Self {
            path,
            judge: Box::new(judge),
            room,
            metrics,
        }
    }

    /// Answers `request`.
    pub(super) async fn answer(self: Arc<Self>, request: Request) -> Response {
        let started = Instant::now();
        match self.attempt(request, started).await {
            Ok(Judged { answer, json }) => {
                let took = started.elapsed();
                self.metrics
                    .decided(self.path, answer.decision, answer.reason, took);
                ([(header::CONTENT_TYPE, "application/json")], json).into_response()
            }
            Err((failure, why)) => {
                self.metrics.failed(self.path, failure);
                // The caller hears why. A line each in our own log would be a means to fill it.
                debug!(
                    path = self.path,
                    failure = failure.as_str(),
                    "refused: {why}"
                );
                (status(failure), format!("{why}\n")).into_response()
            }
        }
    }

    async fn attempt(
        self: &Arc<Self>,
        request: Request,
        started: Instant,
    ) -> Result<Judged, Refusal> {
        let (head, body) = request.into_parts();
        let deadline = started + deadline::allowed(head.uri.query());
        check_content_type(&head.headers)?;
        let declared = declared_length(&head.headers);
        let received = self.room.receive(body, declared, deadline).await;
        let received = received.map_err(|failure| (failure, words(failure).to_owned()))?;
        if Instant::now() >= deadline {
            return Err((Failure::Overloaded, words(Failure::Overloaded).to_owned()));
        }
        if received.bytes.len() <= body::LARGE {
            return self.judge(&received.bytes);
        }
        // Long work holds up nobody else's, and keeps its room until it is done,
        // also where the caller does not wait for it.
        let route = Arc::clone(self);
        let judged = tokio::task::spawn_blocking(move || {
            let judged = route.judge(&received.bytes);
            drop(received);
            judged
        })
        .await;
        judged.map_err(|why| (Failure::Panicked, why.to_string()))?
    }

    fn judge(&self, body: &[u8]) -> Result<Judged, Refusal> {
        // Nothing is shared between two judgements that one could leave half done.
        catch_unwind(AssertUnwindSafe(|| (self.judge)(body)))
            .map_err(|_| (Failure::Panicked, words(Failure::Panicked).to_owned()))?
            .map_err(|why| (Failure::Malformed, why.to_string()))
    }
}

const fn status(failure: Failure) -> StatusCode {
    match failure {
        Failure::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Failure::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Failure::Malformed | Failure::Broken => StatusCode::BAD_REQUEST,
        Failure::Slow => StatusCode::REQUEST_TIMEOUT,
        Failure::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        Failure::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

const fn words(failure: Failure) -> &'static str {
    match failure {
        Failure::TooLarge => "the body has more than 7 MiB",
        Failure::ContentType => "the content type is not application/json",
        Failure::Malformed => "the body is no review",
        Failure::Slow => "the body did not arrive in time",
        Failure::Broken => "the body broke off",
        Failure::Overloaded => "too many reviews are being answered; try again",
        Failure::Panicked => "the webhook failed; its log says how",
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
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

/// Notes an answer. A refusal is what somebody will ask about; the rest the object itself tells.
fn note<T>(path: &str, review: &Review<T>, answer: &Answer) {
    let (namespace, name) = (review.namespace.as_str(), review.name.as_str());
    let (decision, reason) = (answer.decision, answer.reason);
    if let Some(refusal) = answer.refusal() {
        info!(path, namespace, name, decision, reason, refusal, "reviewed");
    } else {
        debug!(path, namespace, name, decision, reason, "reviewed");
    }
}
