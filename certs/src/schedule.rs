//! When a certificate is renewed.
//!
//! Pure: time is an argument, and it is the API server's where that is known (`time`). A machine
//! that was suspended over the date finds that out at its next look, which a timer set on the
//! monotonic clock would not.

use std::time::{Duration, SystemTime};

/// How long a leaf lives unless it is told otherwise, and the longest that it can be told.
pub const LEAF_LIFETIME: Duration = Duration::from_hours(7 * 24);

/// The shortest life that a leaf can be told: three looks fit between when it is due and its end.
pub const SHORTEST_LEAF_LIFETIME: Duration = Duration::from_mins(2);

/// How long an authority lives.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_hours(365 * 24);

/// A certificate is valid from this long before it was made, for API servers whose clock is behind ours.
pub const BACKDATED: Duration = Duration::from_mins(5);

/// How long a new authority is trusted everywhere, as one replica itself has seen,
/// before it signs. API servers hear of a change by a watch; client-go's reflector
/// takes up a broken one again after 30 s at the most, and its jitter doubles that.
pub const PUBLISHED_FOR: Duration = Duration::from_mins(1);

/// How long an authority is trusted on after another has begun to sign in its
/// place: as long as its last leaf can live, and the skew that is forgiven besides.
pub const TRUSTED_AFTER: Duration = LEAF_LIFETIME.saturating_add(BACKDATED);

/// A replica whose certificate ends sooner than this, or than after a sixth of its life, is not
/// ready: something keeps it from renewing.
pub const LEAST_REMAINING: Duration = Duration::from_hours(1);

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: SystemTime,
    /// The last one.
    pub not_after: SystemTime,
}

impl Validity {
    /// A life of `lifetime` from `now` on, see [`BACKDATED`].
    pub fn starting(now: SystemTime, lifetime: Duration) -> Self {
        Self {
            not_before: now - BACKDATED,
            not_after: now + lifetime,
        }
    }

    /// Whether `now` lies inside.
    pub fn holds(&self, now: SystemTime) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// Whether its end has passed.
    pub fn is_over(&self, now: SystemTime) -> bool {
        now > self.not_after
    }

    /// Whether two thirds of the life are over, so that a third is left to get a renewal done.
    pub fn is_due(&self, now: SystemTime) -> bool {
        self.remaining(now) <= self.life() / 3
    }

    /// Whether so little is left that something must keep it from being renewed, see [`LEAST_REMAINING`].
    pub fn is_ending(&self, now: SystemTime) -> bool {
        self.remaining(now) < LEAST_REMAINING.min(self.life() / 6)
    }

    /// How long it was to live when it was made.
    fn life(&self) -> Duration {
        let begun = self.not_before + BACKDATED;
        self.not_after.duration_since(begun).unwrap_or_default()
    }

    /// What is left at `now`; nothing after the end.
    pub fn remaining(&self, now: SystemTime) -> Duration {
        self.not_after.duration_since(now).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_leaf_is_renewed_after_two_thirds_of_its_week() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let leaf = Validity::starting(now, LEAF_LIFETIME);
        assert!(leaf.holds(now) && leaf.holds(now - Duration::from_mins(5)));
        assert!(!leaf.holds(now - Duration::from_mins(6)));
        let due = now + Duration::from_hours(4 * 24 + 16);
        assert!(!leaf.is_due(due - Duration::from_secs(1)) && leaf.is_due(due));
    }

    #[test]
    fn an_hour_has_to_be_left_or_a_sixth_of_a_shorter_life() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        for (life, least) in [(LEAF_LIFETIME, 3600), (SHORTEST_LEAF_LIFETIME, 20)] {
            let leaf = Validity::starting(now, life);
            let last = leaf.not_after - Duration::from_secs(least);
            assert!(!leaf.is_ending(last) && leaf.is_ending(last + Duration::from_secs(1)));
            assert!(leaf.is_due(last), "it is renewed long before");
        }
    }

    #[test]
    fn a_suspended_machine_finds_its_leaf_due_however_long_it_slept() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let leaf = Validity::starting(now, LEAF_LIFETIME);
        for days in [5, 8, 400] {
            assert!(leaf.is_due(now + Duration::from_hours(days * 24)), "{days}");
        }
        assert_eq!(
            leaf.remaining(now + Duration::from_hours(400 * 24)),
            Duration::ZERO
        );
    }

    proptest! {
        #[test]
        fn what_is_due_stays_due_and_what_is_new_is_not(life in 120u64..100_000_000, at in 0u64..200_000_000) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
            let validity = Validity::starting(now, Duration::from_secs(life));
            prop_assert!(!validity.is_due(now) && !validity.is_ending(now));
            let later = now + Duration::from_secs(at);
            prop_assert!(!validity.is_due(later) || validity.is_due(later + Duration::from_secs(1)));
            // Renewal begins while the certificate still serves.
            prop_assert!(validity.holds(later) || validity.is_due(later));
        }
    }
}
