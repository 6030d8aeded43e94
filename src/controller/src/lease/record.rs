//! What a Lease says, as client-go writes it (`LeaderElectionRecord`).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::times::LEASE;

/// `leaseDurationSeconds` of a Lease that its holder has given back.
const RELEASED_SECONDS: i32 = 1;

/// The election's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `holderIdentity`; empty when nobody holds it.
    pub holder: Arc<str>,
    /// `leaseDurationSeconds`: how long others wait without a sign of life.
    pub seconds: i32,
    /// `acquireTime`, for people: no rule reads a time that somebody else wrote.
    pub acquired: Timestamp,
    /// `renewTime`, for people, and to make every renewal a change.
    pub renewed: Timestamp,
    /// `leaseTransitions`: the epoch.
    pub transitions: i32,
}

impl Record {
    /// What `holder` writes when its term `epoch` begins at `now`.
    pub fn of(holder: &Arc<str>, epoch: i32, now: Timestamp) -> Self {
        Self {
            holder: Arc::clone(holder),
            seconds: i32::try_from(LEASE.as_secs()).unwrap_or(i32::MAX),
            acquired: now,
            renewed: now,
            transitions: epoch,
        }
    }

    /// What a holder writes that gives its term `epoch` back at `now`.
    pub fn released(epoch: i32, now: Timestamp) -> Self {
        Self {
            seconds: RELEASED_SECONDS,
            ..Self::of(&Arc::from(""), epoch, now)
        }
    }

    /// How long it must stand unchanged before it may be taken over.
    ///
    /// Only a holder writes an empty name *and* one second; that says that it
    /// writes nothing any more. An emptied name or a shortened duration alone is
    /// somebody's edit, of which the holder does not know yet. A longer duration
    /// is a promise to a holder that renews more seldom.
    pub fn patience(&self) -> Duration {
        if self.holder.is_empty() && self.seconds == RELEASED_SECONDS {
            return Duration::ZERO;
        }
        let seconds = u64::try_from(self.seconds).unwrap_or(0);
        Duration::from_secs(seconds).max(LEASE)
    }
}

impl From<&LeaseSpec> for Record {
    fn from(spec: &LeaseSpec) -> Self {
        let time = |time: &Option<MicroTime>| time.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
        Self {
            holder: spec.holder_identity.as_deref().unwrap_or_default().into(),
            seconds: spec.lease_duration_seconds.unwrap_or(0),
            acquired: time(&spec.acquire_time),
            renewed: time(&spec.renew_time),
            transitions: spec.lease_transitions.unwrap_or(0),
        }
    }
}

impl From<&Record> for LeaseSpec {
    fn from(record: &Record) -> Self {
        Self {
            holder_identity: Some(record.holder.to_string()),
            lease_duration_seconds: Some(record.seconds),
            acquire_time: Some(MicroTime(record.acquired)),
            renew_time: Some(MicroTime(record.renewed)),
            lease_transitions: Some(record.transitions),
            ..Self::default()
        }
    }
}
