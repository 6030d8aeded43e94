//! The requests of a connection, answered by its own task.
//!
//! hyper gives each request of HTTP/2 to an executor. If that spawned it, all
//! requests of a burst would be in memory before the first is answered: the
//! connections that read them stand in the same queue. So a connection first
//! answers what it has read, all of it where it is known, and one at a time where it
//! is a stranger's, so that others who come are not behind a hundred of his; and when
//! it is cut off, all that it makes us hold is gone at once and not when its requests
//! have had their turn.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use hyper::rt::Executor;

use super::connections::Place;

/// Requests that were read since the connection's last turn.
#[derive(Clone, Default)]
pub(super) struct Requests(Arc<Mutex<Vec<BoxFuture<'static, ()>>>>);

/// A connection together with its requests.
pub(super) struct Attended<'a, C> {
    connection: Pin<&'a mut C>,
    place: &'a Place,
    requests: Requests,
    /// Those that were not looked at yet.
    new: VecDeque<BoxFuture<'static, ()>>,
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
    /// `connection` has `place` and gives its requests to `requests`.
    pub(super) fn new(connection: Pin<&'a mut C>, place: &'a Place, requests: Requests) -> Self {
        Self {
            connection,
            place,
            requests,
            new: VecDeque::new(),
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
            this.new.extend(this.requests.take());
            while let Some(mut request) = this.new.pop_front() {
                // Most are complete when they are read, and are answered here.
                if request.as_mut().poll(cx).is_pending() {
                    this.waiting.push(request);
                } else if !this.new.is_empty() && !this.place.is_known() {
                    cx.waker().wake_by_ref();
                    break;
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
        self.new.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::pin::pin;

    use futures::FutureExt;
    use prometheus::Registry;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::metrics::Metrics;
    use crate::serve::connections::Connections;

    fn place() -> Place {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let all = Connections::new(CancellationToken::new(), metrics);
        all.enter([10, 0, 0, 1].into()).unwrap()
    }

    #[test]
    fn a_stranger_is_answered_one_at_a_time_and_who_is_known_all_at_once() {
        let (place, requests, answered) = (place(), Requests::default(), Arc::new(()));
        for _ in 0..10 {
            let kept = Arc::clone(&answered);
            requests.execute(async move { drop(kept) });
        }
        let connection = pin!(pending::<()>());
        let mut attended = Attended::new(connection, &place, requests);
        for left in [9, 8, 7] {
            assert!((&mut attended).now_or_never().is_none());
            assert_eq!(Arc::strong_count(&answered), 1 + left);
        }
        while !place.is_known() {
            place.ask().answered(0, true).read();
        }
        assert!((&mut attended).now_or_never().is_none());
        assert_eq!(Arc::strong_count(&answered), 1);
    }

    #[test]
    fn what_a_connection_has_read_is_answered_by_it_and_gone_with_it() {
        let place = place();
        let (requests, answered, held) = (Requests::default(), Arc::new(()), Arc::new(()));
        let mut polls = 0;
        let connection = pin!(poll_fn(|_| {
            polls += 1;
            // What is executed knows where it is kept, as hyper's requests do.
            let (kept, here, there) = (requests.clone(), Arc::clone(&answered), Arc::clone(&held));
            requests.execute(async move {
                let _held = (kept, there);
                pending::<()>().await;
            });
            let kept = requests.clone();
            requests.execute(async move { drop((kept, here)) });
            if polls < 3 {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        }));
        let mut attended = Attended::new(connection, &place, requests.clone());
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
