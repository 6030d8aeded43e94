//! Readiness: a process is ready when each of its parts says so, and never again once it drains.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What [`Readiness::pending`] names while the process drains.
pub const DRAINING: &str = "shutdown";

/// The readiness of one process. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    draining: AtomicBool,
    parts: Mutex<Vec<Handle>>,
}

/// One part's say in the readiness. Clones share one state.
#[derive(Clone, Debug)]
pub struct Handle {
    name: &'static str,
    ready: Arc<AtomicBool>,
}

impl Readiness {
    /// Ready: there is no part yet that is not.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part, such as a cache or a certificate. It is not ready until its handle says so.
    pub fn handle(&self, name: &'static str) -> Handle {
        let handle = Handle {
            name,
            ready: Arc::default(),
        };
        self.parts().push(handle.clone());
        handle
    }

    /// What the process still waits for, in the order in which the parts were
    /// added; empty means ready. While the process drains it names [`DRAINING`].
    pub fn pending(&self) -> Vec<&'static str> {
        let draining = self
            .shared
            .draining
            .load(Ordering::Acquire)
            .then_some(DRAINING);
        let parts = self.parts();
        let waiting = parts
            .iter()
            .filter(|part| !part.ready.load(Ordering::Acquire));
        draining
            .into_iter()
            .chain(waiting.map(|part| part.name))
            .collect()
    }

    /// Makes the process not ready for good: its endpoints leave the Service before its listeners close.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, Vec<Handle>> {
        // A list that is only ever pushed to is whole even if a pusher panicked.
        self.shared
            .parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// Says whether this part is ready.
    pub fn set(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_its_say() {
        let readiness = Readiness::new();
        assert!(readiness.pending().is_empty());
        let cache = readiness.handle("cache");
        let certificate = readiness.handle("certificate");
        assert_eq!(readiness.pending(), ["cache", "certificate"]);
        certificate.set(true);
        assert_eq!(readiness.clone().pending(), ["cache"]);
        cache.clone().set(true);
        assert!(readiness.pending().is_empty());
        certificate.set(false);
        assert_eq!(readiness.pending(), ["certificate"]);
    }

    #[test]
    fn draining_is_for_good() {
        let readiness = Readiness::new();
        let cache = readiness.handle("cache");
        readiness.drain();
        cache.set(true);
        assert_eq!(readiness.pending(), [DRAINING]);
    }
}
