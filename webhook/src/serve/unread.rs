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
    _held: Option<Held>,
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
            _held: this.held.take_if(|_| is_last),
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
