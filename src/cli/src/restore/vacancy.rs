//! Whether nobody leads MBCAS, so that limits stay as the last leader left them.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};
use mbcas_api::names::CONTROLLER_LEASE;

use super::{RestoreError, Row};
use crate::output;

/// How long a Lease is watched before it counts as stale: a leader writes it every few seconds,
/// whatever its clock and ours say. One that is missing is made anew as soon as somebody leads.
const WATCH: Duration = Duration::from_secs(30);

/// How often it is looked at.
const POLL: Duration = Duration::from_secs(3);

/// A Lease that nobody renews.
pub(super) struct Vacancy {
    client: Client,
    leases: Api<Lease>,
    last: Option<Lease>,
}

impl Vacancy {
    /// The vacancy of `namespace`'s Lease, if it has lasted for `least`; else who leads, in words.
    ///
    /// # Errors
    /// [`RestoreError::Unreadable`]
    pub(super) async fn of(
        client: &Client,
        namespace: &str,
        least: Duration,
    ) -> Result<Result<Self, String>, RestoreError> {
        let mut vacancy = Self {
            client: client.clone(),
            leases: Api::namespaced(client.clone(), namespace),
            last: None,
        };
        vacancy.last = vacancy.look().await?;
        if vacancy.age().is_some_and(|age| age < least) {
            return Ok(Err(vacancy.words()));
        }
        output::progress(&format!(
            "{}; watching its Lease for {} s",
            vacancy.words(),
            WATCH.as_secs()
        ));
        let Ok(ended) = tokio::time::timeout(WATCH, vacancy.ended()).await else {
            return Ok(Ok(vacancy));
        };
        vacancy.last = Some(ended);
        Ok(Err(vacancy.words()))
    }

    /// Returns what the Lease is when somebody has written it. May be dropped at any time.
    pub(super) async fn ended(&self) -> Lease {
        loop {
            tokio::time::sleep(POLL).await;
            // What cannot be read now can be read later.
            if let Ok(Some(lease)) = self.look().await {
                let last = self.last.as_ref().and_then(ResourceExt::resource_version);
                if lease.resource_version() != last {
                    return lease;
                }
            }
        }
    }

    /// Tells whoever looks at the Lease that resources were given back.
    pub(super) async fn tell(&self, rows: &[Row]) {
        let restored = rows
            .iter()
            .filter(|row| row.outcome == super::Outcome::Restored);
        let restored = restored.count();
        let Some(lease) = self.last.as_ref().filter(|_| restored > 0) else {
            return;
        };
        let event = Event {
            type_: EventType::Warning,
            reason: "NobodyLeads".to_owned(),
            note: Some(format!(
                "{}: containers that were given their original CPU resources back: {restored}",
                self.words()
            )),
            action: "Restore".to_owned(),
            secondary: None,
        };
        let recorder = Recorder::new(self.client.clone(), Reporter::from("mbcas-dead-man"));
        if let Err(error) = recorder.publish(&event, &lease.object_ref(&())).await {
            output::progress(&format!(
                "no Event could be written: {}",
                output::words(&error)
            ));
        }
    }

    async fn look(&self) -> Result<Option<Lease>, RestoreError> {
        let lease = self.leases.get_opt(CONTROLLER_LEASE).await;
        lease.map_err(|cause| RestoreError::Unreadable {
            what: format!("Lease {CONTROLLER_LEASE}"),
            cause: Box::new(cause),
        })
    }

    /// For how long it has not been renewed, by our clock; none where it never was.
    fn age(&self) -> Option<Duration> {
        let renewed = self.last.as_ref()?.spec.as_ref()?.renew_time.as_ref()?;
        let age = Timestamp::now().duration_since(renewed.0);
        Some(Duration::try_from(age).unwrap_or_default())
    }

    fn words(&self) -> String {
        let spec = self.last.as_ref().and_then(|lease| lease.spec.as_ref());
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
        match (holder.filter(|name| !name.is_empty()), self.age()) {
            (Some(name), Some(age)) => format!("{name} led {} s ago", age.as_secs()),
            (_, Some(age)) => format!("nobody has led for {} s", age.as_secs()),
            _ => "nobody has led yet".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
