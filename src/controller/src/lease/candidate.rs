//! Doing what the [`rule`](super::rule) says.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, PostParams};
use mbcas_api::names::{CONTROLLER_DEPLOYMENT, CONTROLLER_LEASE};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Leader;
use super::exchange::{Answer, Ask, Step};
use super::record::Record;
use super::rule::{Candidacy, Term};
use super::times::{LEASE, REQUEST, SETTLED};
use mbcas_runtime::clock::Clock;

/// How long giving the Lease back may take once the last write has settled; then it lapses.
const RELEASE: Duration = REQUEST.saturating_mul(2);

/// A candidate for the Lease.
pub struct Candidate {
    leases: Api<Lease>,
    deployments: Api<Deployment>,
    rule: Candidacy,
    clock: Clock,
    leader: Leader,
    term: watch::Sender<Option<Term>>,
    /// What the Lease is beside its record.
    metadata: ObjectMeta,
    is_failing: bool,
}

impl Candidate {
    /// A candidate named `identity` (unique per process, such as the pod's name
    /// and something random), on this machine's `clock`.
    pub fn new(
        leases: Api<Lease>,
        deployments: Api<Deployment>,
        identity: &str,
        clock: Clock,
    ) -> (Self, Leader) {
        let (term, receiver) = watch::channel(None);
        let leader = Leader::new(receiver, clock);
        let candidate = Self {
            leases,
            deployments,
            rule: Candidacy::new(identity.into(), clock()),
            clock,
            leader: leader.clone(),
            term,
            metadata: ObjectMeta::default(),
            is_failing: false,
        };
        (candidate, leader)
    }

    /// Takes part until `token` is cancelled, then gives the Lease back.
    ///
    /// # Errors
    /// None: what fails is logged and repeated.
    pub async fn run(mut self, token: CancellationToken) -> Result<(), std::convert::Infallible> {
        while !token.is_cancelled() {
            if let Step::Sleep(until) = self.step().await {
                let sleep = tokio::time::sleep((self.clock)().until(until));
                token.run_until_cancelled(sleep).await;
            }
        }
        self.leave().await;
        Ok(())
    }

    /// Takes part until it leads, for tests of those who ask [`Leader`].
    #[cfg(test)]
    pub(crate) async fn lead(&mut self) {
        while self.leader.epoch().is_none() {
            self.live(Duration::from_millis(500)).await;
        }
    }

    /// Takes part for this long, for tests.
    #[cfg(test)]
    pub(crate) async fn live(&mut self, time: Duration) {
        let end = (self.clock)() + time;
        while (self.clock)() < end {
            if let Step::Sleep(until) = self.step().await {
                tokio::time::sleep((self.clock)().until(until.min(end))).await;
            }
        }
    }

    /// One step, and what it was.
    async fn step(&mut self) -> Step {
        let step = self.rule.next((self.clock)(), Timestamp::now());
        if let Step::Send(ask) = &step {
            let answer = tokio::time::timeout(REQUEST, self.send(ask)).await;
            let answer = answer.unwrap_or(Err(None)).unwrap_or_else(|error| {
                self.failed(error);
                Answer::Lost
            });
            self.is_failing &= answer == Answer::Lost;
            self.rule.heard(answer, (self.clock)());
            self.publish();
        }
        step
    }

    /// Ends the term, waits until its writes have settled, and gives the Lease back.
    async fn leave(&mut self) {
        self.rule.leave((self.clock)());
        let led = self.term.send_replace(None).is_some();
        let release = async {
            self.leader.clone().settled().await;
            loop {
                match self.step().await {
                    Step::Sleep(until) => {
                        tokio::time::sleep((self.clock)().until(until)).await;
                    }
                    Step::Send(_) => {}
                    Step::Done => return,
                }
            }
        };
        let released = tokio::time::timeout(SETTLED + RELEASE, release).await;
        if led {
            tracing::info!(clean = released.is_ok(), "Gave the Lease back");
        }
    }

    /// `Err(None)` where there was no answer.
    async fn send(&mut self, ask: &Ask) -> Result<Answer, Option<kube::Error>> {
        let params = PostParams::default();
        let (record, lease) = match ask {
            Ask::Look => {
                let found = self.leases.get_opt(CONTROLLER_LEASE).await?;
                return Ok(found.map_or(Answer::Absent, |lease| self.found(lease)));
            }
            Ask::Create(record) => {
                let Some(lease) = self.created(record).await? else {
                    tracing::info!("The Lease went with its Deployment; it is not created again");
                    return Ok(Answer::Lost);
                };
                (record, self.leases.create(&params, &lease).await)
            }
            Ask::Replace(version, record) => {
                let mut metadata = self.metadata.clone();
                metadata.resource_version = Some(version.to_string());
                let lease = lease(metadata, record);
                let replaced = self.leases.replace(CONTROLLER_LEASE, &params, &lease).await;
                (record, replaced)
            }
        };
        match lease {
            Ok(lease) => {
                if matches!(ask, Ask::Create(_)) {
                    tracing::info!(epoch = record.transitions, wait = ?LEASE, "Created the Lease; it is held for a while before anything is written");
                }
                let version = version(&lease.metadata);
                self.metadata = lease.metadata;
                Ok(Answer::Accepted(version))
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Answer::Refused),
            Err(kube::Error::Api(status))
                if status.code == 404 && matches!(ask, Ask::Replace(..)) =>
            {
                Ok(Answer::Absent)
            }
            Err(error) => Err(Some(error)),
        }
    }

    fn found(&mut self, lease: Lease) -> Answer {
        let record = Record::from(&lease.spec.unwrap_or_default());
        let version = version(&lease.metadata);
        self.metadata = lease.metadata;
        Answer::Found(version, record)
    }

    /// A new Lease; none where the last one went with its owner. An uninstall is
    /// under way then, and what is created after it stays behind.
    async fn created(&self, record: &Record) -> Result<Option<Lease>, kube::Error> {
        let owner = self.deployments.get_opt(CONTROLLER_DEPLOYMENT).await?;
        let owner = owner.filter(|owner| owner.metadata.deletion_timestamp.is_none());
        if owner.is_none() && self.metadata.owner_references.is_some() {
            return Ok(None);
        }
        let metadata = ObjectMeta {
            name: Some(CONTROLLER_LEASE.to_owned()),
            owner_references: owner.map(|deployment| vec![owned_by(&deployment)]),
            ..ObjectMeta::default()
        };
        Ok(Some(lease(metadata, record)))
    }

    /// Says it once, however often it is repeated.
    fn failed(&mut self, error: Option<kube::Error>) {
        let error = error.map_or_else(
            || format!("no answer within {REQUEST:?}"),
            |e| e.to_string(),
        );
        if std::mem::replace(&mut self.is_failing, true) {
            tracing::debug!(%error, lease = CONTROLLER_LEASE, "Still failing to look at the Lease or renew it");
        } else {
            tracing::warn!(%error, lease = CONTROLLER_LEASE, "Failed to look at the Lease or renew it");
        }
    }

    fn publish(&self) {
        let now = (self.clock)();
        let term = self.rule.term().filter(|term| term.permits(now));
        let before = self.term.send_replace(term);
        match (before, term) {
            (None, Some(term)) => tracing::info!(epoch = term.epoch, "Became the leader"),
            (Some(_), None) => {
                tracing::warn!(holder = self.rule.holder(), "Lost the Lease");
            }
            _ => {}
        }
    }
}

fn version(metadata: &ObjectMeta) -> super::exchange::Version {
    metadata
        .resource_version
        .as_deref()
        .unwrap_or_default()
        .into()
}

fn lease(metadata: ObjectMeta, record: &Record) -> Lease {
    Lease {
        metadata,
        spec: Some(record.into()),
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
