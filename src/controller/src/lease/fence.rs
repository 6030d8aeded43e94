//! The last thing that a write passes on its way out.
//!
//! A client behind the fence reads as ever. Every other request asks for the term
//! when it is sent, and again when it is sent again: whoever wrote the code that
//! sends it cannot forget to.

use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Request, Response, Uri};
use kube::Client;
use kube::client::Body;
use thiserror::Error;
use tower::{BoxError, Service};

use super::Leader;
use super::times::WRITE;

/// What the fence says instead of an answer.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Fenced {
    /// Nothing was sent: the term is over.
    #[error("the term {0} is over; nothing was sent")]
    NotLeading(i32),
    /// It may have been done, or not.
    #[error("the API server did not answer a write within {WRITE:?}")]
    Unanswered,
}

impl Fenced {
    /// What the fence said, if `error` comes from it.
    pub fn of(error: &kube::Error) -> Option<Self> {
        match error {
            kube::Error::Service(source) => source.downcast_ref().copied(),
            _ => None,
        }
    }
}

/// `client`, which writes only while `leader` is in the term `epoch`.
pub fn fenced(client: &Client, leader: &Leader, epoch: i32) -> Client {
    let fence = Fence {
        client: client.clone(),
        leader: leader.clone(),
        epoch,
    };
    Client::new(fence, client.default_namespace())
}

struct Fence {
    client: Client,
    leader: Leader,
    epoch: i32,
}

impl Service<Request<Body>> for Fence {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(())) // `Client::send` waits for its own service
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let client = self.client.clone();
        if request.method() == Method::GET {
            return async move { Ok(client.send(request).await?) }.boxed();
        }
        let (leader, epoch) = (self.leader.clone(), self.epoch);
        async move {
            bound(request.uri_mut())?;
            let writing = leader.begin(epoch).ok_or(Fenced::NotLeading(epoch))?;
            // Dropped, the request closes its connection, and the API server gives it up.
            let answer = tokio::time::timeout(WRITE, client.send(request)).await;
            let answer = answer.map_err(|_| Fenced::Unanswered)??;
            writing.answered();
            Ok(answer)
        }
        .boxed()
    }
}

/// Tells the API server how long it may take, which it counts from when the request
/// has arrived (`WithRequestDeadline` in k8s.io/apiserver).
fn bound(uri: &mut Uri) -> Result<(), http::Error> {
    let mark = if uri.query().is_some() { '&' } else { '?' };
    let bounded = format!("{uri}{mark}timeout={}s", WRITE.as_secs());
    *uri = Uri::try_from(bounded)?;
    Ok(())
}

#[cfg(test)]
mod tests;
