//! How long everything takes, and why two leaders never meet.

use std::time::Duration;

/// How long others wait without a sign of life before they take over.
pub const LEASE: Duration = Duration::from_secs(15);
/// How long after sending a renewal its sender may still begin a write. The rest
/// up to [`LEASE`] covers writes that are on their way and clocks that differ.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often a leader renews.
pub const RENEWAL: Duration = Duration::from_secs(2);
/// How often the others look, and whoever has created the Lease renews: a Lease that is given back is taken within two seconds.
pub const POLL: Duration = Duration::from_secs(1);
/// How long one request may take. With [`LEASE`] and a [`POLL`] that was just
/// missed it stays below the 17 seconds within which a dead holder is followed.
pub const REQUEST: Duration = Duration::from_millis(1500);
/// How long an answer to a write under the Lease is waited for, and how long the API
/// server may take over it from when it has arrived.
pub const WRITE: Duration = Duration::from_secs(2);
/// The longest that a write can take to have its effect, from being permitted.
pub const SETTLED: Duration = WRITE.saturating_mul(2);

// A write that is permitted at the last moment by the slowest clock has its effect
// before the fastest clock takes over.
const _: () = {
    let (slow, fast) = (RENEW_DEADLINE.as_millis() * 101, LEASE.as_millis() * 99);
    assert!(slow + SETTLED.as_millis() * 100 < fast);
};

/// How long after a refused write the record is looked at again.
pub(super) const AGAIN: Duration = Duration::from_millis(200);
