//! Who may write: leader election on a Lease, by client-go's rule.
//!
//! A candidate never compares its own clock with the holder's. It watches the
//! record *change*, on its own monotonic clock, and takes over only after it
//! has seen no change for the whole lease duration. A leader stops before its
//! lease ends: what it holds is a deadline, counted from the moment *before*
//! the last successful renewal was sent, and every write asks [`Leader::epoch`]
//! first. `leaseTransitions` is the fencing epoch
//! (`client-go/tools/leaderelection`, 15 s / 10 s / 2 s).

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use mbcas_api::names::{CONTROLLER_DEPLOYMENT, CONTROLLER_LEASE};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long others wait without a sign of life before they take over.
const LEASE: Duration = Duration::from_secs(15);
/// How long after a renewal the holder may still write. The rest up to
/// [`LEASE`] covers a write that is on its way.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often the record is read and renewed.
const RETRY: Duration = Duration::from_secs(2);

/// What the rest of the process knows about the election.
#[derive(Clone, Debug)]
pub struct Leader(watch::Receiver<Option<Term>>);

/// One term of office.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Term {
    epoch: i32,
    until: Instant,
}

impl Leader {
    /// The fencing epoch if this process may write at this moment.
    pub fn epoch(&self) -> Option<i32> {
        self.0
            .borrow()
            .filter(|term| Instant::now() < term.until)
            .map(|term| term.epoch)
    }
}

/// A candidate for the Lease.
pub struct Candidate {
    leases: Api<Lease>,
    deployments: Api<Deployment>,
    identity: String,
    term: watch::Sender<Option<Term>>,
    observed: Option<Observed>,
}

/// The record as it was last seen to change.
struct Observed {
    spec: LeaseSpec,
    at: Instant,
}

/// What one look at the record leads to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Ours: renew it.
    Renew,
    /// Free, or its holder has not been heard of for the whole duration: take it.
    Take,
    /// Somebody else's.
    Wait,
}

impl Candidate {
    /// A candidate named `identity` (unique per process, such as the pod's name).
    pub fn new(
        leases: Api<Lease>,
        deployments: Api<Deployment>,
        identity: String,
    ) -> (Self, Leader) {
        let (term, receiver) = watch::channel(None);
        (
            Self {
                leases,
                deployments,
                identity,
                term,
                observed: None,
            },
            Leader(receiver),
        )
    }

    /// Takes part until `token` is cancelled, then gives the Lease back.
    ///
    /// # Errors
    /// None: a failed look at the record is logged and repeated.
    pub async fn run(mut self, token: CancellationToken) -> Result<(), std::convert::Infallible> {
        let mut ticks = tokio::time::interval(RETRY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while token.run_until_cancelled(ticks.tick()).await.is_some() {
            // An unanswered request must not outlive the lease that it renews.
            match tokio::time::timeout(RETRY * 2, self.round()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, lease = CONTROLLER_LEASE, "Renewing the Lease failed");
                }
                Err(_) => tracing::warn!(
                    lease = CONTROLLER_LEASE,
                    "The API server did not answer in time"
                ),
            }
        }
        if self.term.send_replace(None).is_some() {
            let released = tokio::time::timeout(RETRY, self.release()).await;
            tracing::info!(
                clean = matches!(released, Ok(Ok(()))),
                "Gave the Lease back"
            );
        }
        Ok(())
    }

    /// One look at the record, for tests of those who ask [`Leader`].
    #[cfg(test)]
    pub(crate) async fn look_once(&mut self) {
        self.round().await.unwrap();
    }

    /// One look at the record, and what follows from it.
    async fn round(&mut self) -> Result<(), kube::Error> {
        let started = Instant::now();
        let Some(lease) = self.leases.get_opt(CONTROLLER_LEASE).await? else {
            return self.create(started).await;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        match self.judge(&spec, started) {
            Verdict::Wait => {
                if self.term.send_replace(None).is_some() {
                    tracing::warn!(holder = spec.holder_identity, "Lost the Lease");
                }
                Ok(())
            }
            verdict => {
                self.hold(lease, &spec, verdict == Verdict::Take, started)
                    .await
            }
        }
    }

    /// Judges the record by what this process has itself observed.
    fn judge(&mut self, spec: &LeaseSpec, now: Instant) -> Verdict {
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder == self.identity && self.term.borrow().is_some() {
            return Verdict::Renew;
        }
        if holder.is_empty() {
            return Verdict::Take;
        }
        let seen = self
            .observed
            .as_ref()
            .filter(|seen| seen.spec == *spec)
            .map(|seen| seen.at);
        let since = seen.unwrap_or(now);
        if seen.is_none() {
            self.observed = Some(Observed {
                spec: spec.clone(),
                at: now,
            });
        }
        let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
        let duration = Duration::from_secs(seconds).max(LEASE);
        if now.duration_since(since) > duration {
            Verdict::Take
        } else {
            Verdict::Wait
        }
    }

    async fn hold(
        &mut self,
        lease: Lease,
        old: &LeaseSpec,
        take: bool,
        started: Instant,
    ) -> Result<(), kube::Error> {
        let epoch = old.lease_transitions.unwrap_or(0) + i32::from(take);
        let acquired = if take { None } else { old.acquire_time.clone() };
        let next = Lease {
            spec: Some(self.spec(epoch, acquired)),
            ..lease
        };
        // A full replacement carries the resourceVersion that was read: of two takers one is refused.
        self.leases
            .replace(CONTROLLER_LEASE, &PostParams::default(), &next)
            .await?;
        self.elected(epoch, started, take);
        Ok(())
    }

    async fn create(&mut self, started: Instant) -> Result<(), kube::Error> {
        let owner = self.deployments.get_opt(CONTROLLER_DEPLOYMENT).await?;
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(CONTROLLER_LEASE.to_owned()),
                owner_references: owner.map(|deployment| vec![owned_by(&deployment)]),
                ..ObjectMeta::default()
            },
            spec: Some(self.spec(0, None)),
        };
        self.leases.create(&PostParams::default(), &lease).await?;
        self.elected(0, started, true);
        Ok(())
    }

    fn elected(&self, epoch: i32, started: Instant, new: bool) {
        self.term.send_replace(Some(Term {
            epoch,
            until: started + RENEW_DEADLINE,
        }));
        if new {
            tracing::info!(identity = %self.identity, epoch, "Became the leader");
        }
    }

    fn spec(&self, transitions: i32, acquired: Option<MicroTime>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
            acquire_time: acquired.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    async fn release(&self) -> Result<(), kube::Error> {
        let mut lease = self.leases.get(CONTROLLER_LEASE).await?;
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(self.identity.as_str()) {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            self.leases
                .replace(CONTROLLER_LEASE, &PostParams::default(), &lease)
                .await?;
        }
        Ok(())
    }
}

/// The Lease goes when the Deployment goes: nothing is left after an uninstall.
fn owned_by(deployment: &Deployment) -> OwnerReference {
    OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: deployment.metadata.name.clone().unwrap_or_default(),
        uid: deployment.metadata.uid.clone().unwrap_or_default(),
        ..OwnerReference::default()
    }
}

#[cfg(test)]
mod tests;
