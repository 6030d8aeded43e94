//! Answers that are ready together go out together.
//!
//! HTTP/2 asks for every answer to be flushed, and a write to a socket costs
//! about what judging a pod costs. So a flush here only says that there is
//! something to be sent; it is sent when the connection next looks for input,
//! which it is woken to do at once, after the other tasks that are ready: with
//! one request at a time that is immediately, and in a burst most answers are
//! there by then.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many bytes are gathered at most, but for the last record of TLS, which has
/// as many again. Every connection may have so many that its peer does not take.
pub(super) const MOST: usize = 16 * 1024;

/// How many bytes of memory are kept while there is nothing to send.
const KEPT: usize = 8 * 1024;

/// A stream that gathers what is written. Whoever uses it must go on reading.
#[derive(Debug)]
pub(super) struct Gather<S> {
    stream: S,
    gathered: Vec<u8>,
    /// How many bytes of that are sent already.
    sent: usize,
    /// The peer takes nothing for now.
    is_blocked: bool,
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            gathered: Vec::new(),
            sent: 0,
            is_blocked: false,
        }
    }

    /// Sends what was gathered.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.gathered.len() {
            let rest = &self.gathered[self.sent..];
            let sent = Pin::new(&mut self.stream).poll_write(cx, rest);
            self.is_blocked = sent.is_pending();
            match ready!(sent)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        self.sent = 0;
        self.gathered.clear();
        self.gathered.shrink_to(KEPT);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        // Also at the end of the input, after which nobody may look again.
        if buffer.filled().len() == before
            && let Poll::Ready(sent) = this.poll_send(cx)
        {
            sent?;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.gathered.len() >= MOST {
            ready!(this.poll_send(cx))?;
        }
        let before = this.gathered.len();
        for slice in slices {
            this.gathered.extend_from_slice(slice);
        }
        Poll::Ready(Ok(this.gathered.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_blocked {
            return this.poll_send(cx);
        }
        if !this.gathered.is_empty() {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
