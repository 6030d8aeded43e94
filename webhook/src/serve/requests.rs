//! The requests of a connection, answered by its own task.
//!
//! hyper gives each request of HTTP/2 to an executor. If that spawned it, all
//! requests of a burst would be in memory before the first is answered: the
//! connections that read them stand in the same queue. So a connection first
//! answers what it has read; and when it is cut off, all that it makes us hold
//! is gone at once and not when its requests have had their turn.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use hyper::rt::Executor;

/// Requests that were read and not looked at yet.
#[derive(Clone, Default)]
pub(super) struct Requests(Arc<Mutex<Vec<BoxFuture<'static, ()>>>>);

/// A connection together with its requests.
pub(super) struct Attended<'a, C> {
    connection: Pin<&'a mut C>,
    requests: Requests,
    /// Those that wait for something.
    waiting: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl Requests {
    fn take(&self) -> Vec<BoxFuture<'static, ()>> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Requests {
    fn execute(&self, request: F) {
        let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(Box::pin(request));
    }
}

impl<'a, C> Attended<'a, C> {
    /// `connection` gives its requests to `requests`.
    pub(super) fn new(connection: Pin<&'a mut C>, requests: Requests) -> Self {
        Self {
            connection,
            requests,
            waiting: FuturesUnordered::new(),
        }
    }

    pub(super) fn connection(&mut self) -> Pin<&mut C> {
        self.connection.as_mut()
    }
}

impl<C: Future> Future for Attended<'_, C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = self.get_mut();
        let end = this.connection.as_mut().poll(cx);
        if end.is_pending() {
            for mut request in this.requests.take() {
                // Most are complete when they are read, and are answered here.
                if request.as_mut().poll(cx).is_pending() {
                    this.waiting.push(request);
                }
            }
            while let Poll::Ready(Some(())) = this.waiting.poll_next_unpin(cx) {}
        }
        end
    }
}

impl<C> Drop for Attended<'_, C> {
    fn drop(&mut self) {
        // Each of them knows where it is kept, and would keep itself.
        drop(self.requests.take());
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::pin::pin;

    use futures::FutureExt;

    use super::*;

    #[test]
    fn what_a_connection_has_read_is_answered_by_it_and_gone_with_it() {
        let (requests, answered, held) = (Requests::default(), Arc::new(()), Arc::new(()));
        let mut polls = 0;
        let connection = pin!(poll_fn(|_| {
            polls += 1;
            // What is executed knows where it is kept, as hyper's requests do.
            let (kept, here, there) = (requests.clone(), Arc::clone(&answered), Arc::clone(&held));
            requests.execute(async move { drop((kept, here)) });
            let kept = requests.clone();
            requests.execute(async move {
                let _held = (kept, there);
                pending::<()>().await;
            });
            if polls < 3 {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        }));
        let mut attended = Attended::new(connection, requests.clone());
        for waiting in [1, 2] {
            assert!((&mut attended).now_or_never().is_none());
            assert_eq!(Arc::strong_count(&answered), 1, "answered");
            assert_eq!(Arc::strong_count(&held), 1 + waiting, "not yet");
        }
        assert!((&mut attended).now_or_never().is_some());
        drop(attended);
        assert_eq!(Arc::strong_count(&answered), 1);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
