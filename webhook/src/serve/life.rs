//! What a connection does, which somebody else can end between two of its turns.
//!
//! Who is cut off because memory is rare would otherwise keep it until he has his
//! turn, behind others who take more meanwhile.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Where it is kept.
#[derive(Default)]
pub(super) struct Life {
    end: CancellationToken,
    /// The same, and cheaper to look at.
    is_ended: AtomicBool,
    kept: Mutex<Option<BoxFuture<'static, ()>>>,
}

/// What of it was ended by somebody else: to be dropped where that may take its time.
#[must_use]
pub(super) struct Remains(#[expect(dead_code)] Option<BoxFuture<'static, ()>>);

/// Its turns: comes back when it has ended, by itself or otherwise.
pub(super) struct Living {
    life: Arc<Life>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Life {
    /// Begins with `what` is to be done.
    pub(super) fn begin(
        self: &Arc<Self>,
        what: impl Future<Output = ()> + Send + 'static,
    ) -> Living {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::pin(what));
        Living {
            life: Arc::clone(self),
            ended: Box::pin(self.end.clone().cancelled_owned()),
        }
    }

    /// Ends it, at once unless it is having its turn: then after that.
    pub(super) fn end(&self) -> Remains {
        self.is_ended.store(true, Ordering::Relaxed);
        self.end.cancel();
        match self.kept.try_lock() {
            Ok(mut kept) => Remains(kept.take()),
            Err(TryLockError::Poisoned(kept)) => Remains(kept.into_inner().take()),
            Err(TryLockError::WouldBlock) => Remains(None),
        }
    }

    /// Somebody has ended it.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Life")
            .field("ended", &self.is_ended())
            .finish_non_exhaustive()
    }
}

impl Future for Living {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut kept = self
            .life
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(what) = kept.as_mut() {
            ready!(what.as_mut().poll(cx));
        }
        Poll::Ready(())
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        let kept = self.life.kept.lock();
        drop(kept.unwrap_or_else(PoisonError::into_inner).take());
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn it_ends_by_itself_or_at_once_and_nothing_is_left() {
        let (life, held) = (Arc::<Life>::default(), Arc::new(()));
        life.begin(async {}).await;
        let kept = Arc::clone(&held);
        let mut living = life.begin(async move {
            pending::<()>().await;
            drop(kept);
        });
        assert!((&mut living).now_or_never().is_none());
        assert_eq!(Arc::strong_count(&held), 2);
        drop(life.end());
        assert_eq!(Arc::strong_count(&held), 1, "without a turn");
        assert!(living.now_or_never().is_some());
        let kept = Arc::clone(&held);
        drop(life.begin(async move { drop(kept) }));
        assert_eq!(Arc::strong_count(&held), 1, "who begins it drops it");
    }

    #[tokio::test]
    async fn in_the_middle_of_its_turn_it_has_that_turn() {
        let life = Arc::<Life>::default();
        let (ender, held) = (Arc::clone(&life), Arc::new(()));
        let kept = Arc::clone(&held);
        let living = life.begin(async move {
            drop(ender.end());
            assert_eq!(Arc::strong_count(&kept), 2);
            tokio::task::yield_now().await;
            unreachable!("it was ended");
        });
        living.await;
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
