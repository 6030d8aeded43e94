//! Who decides when a write may be sent.

use std::time::Duration;

use crate::apply::spread;

/// Lets writes through, one by one. Every single write passes it, the second try
/// of a resize as well as its first: a budget of writes counts them all, and a
/// leader that lost its Lease between two tries must not make the second.
pub trait Gate: Sync {
    /// Returns when it is one write's turn; `false`: none may be sent any more.
    fn pass(&self) -> impl Future<Output = bool> + Send;

    /// Asked once more at the last moment, as reading the pod takes time.
    fn is_open(&self) -> bool;

    /// Hears that the API server asks everybody to wait.
    fn busy(&self, wait: Duration) -> impl Future<Output = ()> + Send;
}

/// A gate that is always open: for the single write of a person.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open;

impl Gate for Open {
    async fn pass(&self) -> bool {
        true
    }

    fn is_open(&self) -> bool {
        true
    }

    async fn busy(&self, wait: Duration) {
        tokio::time::sleep(wait + spread(wait)).await;
    }
}
