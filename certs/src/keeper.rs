//! The loop that keeps a replica's certificate good.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kube::Client;
use thiserror::Error;
use tracing::{info, warn};

use crate::bundle::{self, TrustError};
use crate::configuration::{Configuration, ConfigurationError};
use crate::leaf::{Leaf, LeafError};
use crate::resolver::LiveCertificate;
use crate::schedule::{LEAST_REMAINING, Validity};
use crate::store::{CaStore, Held, StoreError};

/// How often a replica looks, so how soon a configuration is repaired that
/// somebody has overwritten.
pub const PERIOD: Duration = Duration::from_secs(10);

/// How soon it looks again after a look that did not end ready; twice as late after each further one.
pub const RETRY: Duration = Duration::from_secs(1);

/// What one look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The served leaf has an hour left and the live configuration vouches for it.
    pub ready: bool,
    /// The served leaf.
    pub leaf: Option<Validity>,
    /// The authority.
    pub authority: Validity,
}

/// Why a look failed.
#[derive(Debug, Error)]
pub enum KeeperError {
    /// The authority's Secret.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The webhook configuration.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// A new leaf.
    #[error(transparent)]
    Leaf(#[from] LeafError),
}

/// Keeps one replica's leaf fresh and the configuration's `caBundle` in agreement with it.
#[derive(Debug)]
pub struct Keeper {
    store: CaStore,
    configuration: Configuration,
    name: String,
    clock: fn() -> SystemTime,
    live: Arc<LiveCertificate>,
    served: Option<Leaf>,
    /// Signed, but not served before the API server can be expected to trust it.
    next: Option<Leaf>,
}

impl Keeper {
    /// A keeper for the replica in `namespace` that serves from `live`.
    pub fn new(client: Client, namespace: &str, live: Arc<LiveCertificate>) -> Self {
        Self::with_clock(client, namespace, live, SystemTime::now)
    }

    /// As [`Self::new`], with a wall clock of the caller's.
    pub fn with_clock(
        client: Client,
        namespace: &str,
        live: Arc<LiveCertificate>,
        clock: fn() -> SystemTime,
    ) -> Self {
        Self {
            store: CaStore::new(client.clone(), namespace),
            configuration: Configuration::new(client),
            name: crate::server_name(namespace),
            clock,
            live,
            served: None,
            next: None,
        }
    }

    /// Looks once: authority, `caBundle`, leaf.
    ///
    /// # Errors
    /// [`KeeperError`]; what was served before is served on.
    pub async fn tick(&mut self) -> Result<Report, KeeperError> {
        let now = (self.clock)();
        let held = self.store.ensure(now).await?;
        let mut seen = self.configuration.read().await?;
        let settled = seen.bundle == held.bundle.pem().as_bytes();
        if !settled {
            seen = self.configuration.publish(&seen, &held.bundle).await?;
            info!(
                authorities = held.bundle.len(),
                "wrote the caBundle of the webhook configuration"
            );
        }
        self.prepare(&held, now)?;
        self.promote(&seen.bundle, settled, now);
        let trusted = self
            .served
            .as_ref()
            .map(|leaf| self.check(&seen.bundle, leaf, now));
        if let Some(Err(why)) = &trusted {
            warn!("{why}");
        }
        let leaf = self.served.as_ref().map(Leaf::validity);
        let fresh = leaf.is_some_and(|leaf| leaf.remaining(now) >= LEAST_REMAINING);
        Ok(Report {
            ready: fresh && matches!(trusted, Some(Ok(()))),
            leaf,
            authority: held.authority.validity(),
        })
    }

    /// Signs the next leaf if the served one is due, or not of this authority.
    fn prepare(&mut self, held: &Held, now: SystemTime) -> Result<(), LeafError> {
        let good = |leaf: &Option<Leaf>| {
            leaf.as_ref().is_some_and(|leaf| {
                leaf.is_from(&held.authority)
                    && leaf.validity().holds(now)
                    && !leaf.validity().is_due(now)
            })
        };
        if good(&self.served) {
            self.next = None;
        } else if !good(&self.next) {
            self.next = Some(held.authority.issue(&self.name, now)?);
        }
        Ok(())
    }

    /// Serves the next leaf once the live bundle vouches for it. While the
    /// served one is still trusted it waits a look longer after a change of the
    /// bundle: every API server must have seen that first.
    fn promote(&mut self, bundle: &[u8], settled: bool, now: SystemTime) {
        let trusted = |leaf: &Leaf| self.check(bundle, leaf, now).is_ok();
        let waits = !settled && self.served.as_ref().is_some_and(trusted);
        if waits || !self.next.as_ref().is_some_and(trusted) {
            return;
        }
        if let Some(leaf) = self.next.take() {
            let days = leaf.validity().remaining(now).as_secs() / 86_400;
            info!(days, "serving a new certificate");
            self.live.set(leaf.certified());
            self.served = Some(leaf);
        }
    }

    fn check(&self, bundle: &[u8], leaf: &Leaf, now: SystemTime) -> Result<(), TrustError> {
        bundle::verify(bundle, leaf.certificate(), &self.name, now)
    }

    /// Looks for ever, every [`PERIOD`]; `observe` sees each outcome. Drop it to stop.
    pub async fn run(
        mut self,
        mut observe: impl FnMut(&Result<Report, KeeperError>),
    ) -> Infallible {
        let mut retry = RETRY;
        loop {
            let outcome = self.tick().await;
            if let Err(why) = &outcome {
                warn!("{why}");
            }
            observe(&outcome);
            let settled = matches!(&outcome, Ok(report) if report.ready);
            tokio::time::sleep(if settled { PERIOD } else { retry }).await;
            retry = if settled {
                RETRY
            } else {
                PERIOD.min(retry * 2)
            };
        }
    }
}

#[cfg(test)]
mod tests;
