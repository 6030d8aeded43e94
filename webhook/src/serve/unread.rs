//! Answers on their way out, counted until they are gone.
//!
//! Whoever reads one byte of an answer moves all of it from its body into
//! HTTP/2's own buffers. So the count goes with the bytes, and ends when nobody
//! has them any more.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use hyper::body::Buf;

use super::connections::Held;

/// The body of an answer, which counts as held for as long as it is there.
#[derive(Debug)]
pub(super) struct Unread {
    body: Body,
    held: Option<Held>,
}

/// A piece of an answer; the last one counts for the whole.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    held: Option<Held>,
}

impl Unread {
    pub(super) fn new(body: Body, held: Held) -> Self {
        let held = Some(held);
        Self { body, held }
    }
}

impl HttpBody for Unread {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        let is_last = this.body.is_end_stream();
        let piece = |bytes| Piece {
            bytes,
            held: this.held.take_if(|_| is_last),
        };
        Poll::Ready(frame.map(|frame| Ok(frame?.map_data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, bytes: usize) {
        self.bytes.advance(bytes);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(held) = &self.held
            && !self.bytes.has_remaining()
        {
            held.read();
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use prometheus::Registry;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::metrics::Metrics;
    use crate::serve::connections::Connections;

    #[tokio::test]
    async fn an_answer_counts_until_whoever_sends_it_has_let_go_of_its_bytes() {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let all = Connections::new(CancellationToken::new(), metrics);
        let place = all.enter([10, 0, 0, 1].into()).unwrap();
        let asking = place.ask();
        let mut answer = Unread::new(Body::from("answer"), asking.answered(6, true));
        let held = all.held();
        assert!(held > 6);
        // As HTTP/2 does as soon as a byte may be sent: the body is done, and its bytes wait.
        let mut piece = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(answer.is_end_stream());
        drop(answer);
        piece.advance(1);
        assert_eq!((piece.chunk(), all.held()), (&b"nswer"[..], held));
        drop(piece);
        assert_eq!(all.held(), 0);
    }
}
