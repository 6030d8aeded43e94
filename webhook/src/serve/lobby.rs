//! Where strangers are attended to: by a thread that gives way to all others.
//!
//! Whoever only connects, or asks what is no review, or does not read what he is
//! answered, takes time that those would need who do. So every connection begins in
//! the lobby, its handshake included, and comes into the hall, to the process's own
//! threads, as soon as enough was asked and read on it. What strangers do then costs
//! only time that nobody else wants, and the API server's connections are no strangers
//! after a handful of pods.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio_util::future::FutureExt;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// How much the lobby gives way: its share is an eleventh where others want all there is.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// The lobby and the hall, and everybody in them until this is dropped.
#[derive(Clone, Debug)]
pub(super) struct Lobby {
    lobby: Handle,
    hall: Handle,
    all: TaskTracker,
    end: CancellationToken,
}

impl Lobby {
    /// A lobby beside the runtime that this is called in, until the guard is dropped.
    ///
    /// # Errors
    /// If the system gives no thread or no file descriptors.
    pub(super) fn open() -> io::Result<(Self, DropGuard)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (lobby, hall) = (runtime.handle().clone(), Handle::current());
        let end = CancellationToken::new();
        let ended = end.clone();
        thread::Builder::new().name("lobby".into()).spawn(move || {
            // On Linux this is the calling thread's own.
            #[cfg(target_os = "linux")]
            let _ = rustix::process::nice(NICE);
            runtime.block_on(ended.cancelled());
        })?;
        let guard = end.clone().drop_guard();
        let all = TaskTracker::new();
        let lobby = Self {
            lobby,
            hall,
            all,
            end,
        };
        Ok((lobby, guard))
    }

    /// Attends in the lobby to somebody, in the hall from when he is `known` on.
    pub(super) fn attend(
        &self,
        somebody: impl Future<Output = ()> + Send + 'static,
        known: impl Future<Output = ()> + Send + 'static,
    ) {
        let (hall, all, end) = (self.hall.clone(), self.all.clone(), self.end.clone());
        let mut somebody = Box::pin(somebody.with_cancellation_token_owned(end));
        let stranger = async move {
            tokio::select! {
                _ = &mut somebody => return,
                () = known => {}
            }
            all.spawn_on(somebody, &hall);
        };
        self.all.spawn_on(stranger, &self.lobby);
    }

    /// Does `work` in the lobby.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        self.lobby.spawn(work).await.map_err(io::Error::other)
    }

    /// The hall, whose threads are to hear of what arrives.
    pub(super) fn hall(&self) -> &Handle {
        &self.hall
    }

    /// Comes back when everybody has gone.
    pub(super) async fn is_empty(&self) {
        self.all.close();
        self.all.wait().await;
    }

    /// How many are there.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn strangers_are_attended_to_by_the_lobby_and_those_who_are_known_by_the_hall() {
        let (lobby, _open) = Lobby::open().unwrap();
        let (seen, by) = mpsc::channel();
        let (known, came) = (CancellationToken::new(), CancellationToken::new());
        let again = came.clone();
        let somebody = async move {
            loop {
                let by = thread::current().name().map(str::to_owned);
                if seen.send(by).is_err() {
                    return;
                }
                again.cancelled().await;
                tokio::task::yield_now().await;
            }
        };
        lobby.attend(somebody, known.clone().cancelled_owned());
        assert_eq!(by.recv().unwrap().as_deref(), Some("lobby"));
        known.cancel();
        came.cancel();
        let by_whom = tokio::task::spawn_blocking(move || {
            by.iter().find(|by| by.as_deref() != Some("lobby")).unwrap()
        });
        assert_eq!(by_whom.await.unwrap().as_deref(), Some("tokio-rt-worker"));
        lobby.is_empty().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn when_it_closes_nobody_stays() {
        let (lobby, open) = Lobby::open().unwrap();
        for known in [false, true] {
            let token = CancellationToken::new();
            if known {
                token.cancel();
            }
            lobby.attend(std::future::pending(), token.cancelled_owned());
        }
        assert_eq!(lobby.len(), 2);
        drop(open);
        lobby.is_empty().await;
    }
}
