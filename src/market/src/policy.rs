//! The rule and the constants that an operator may choose.

use std::str::FromStr;
use std::time::Duration;

use mbcas_core::MilliCpu;
use serde::{Deserialize, Serialize};

use crate::error::PolicyError;

/// How grants and limits follow from bids.
///
/// The place for finer rules: each is a function from the same input to a
/// [`crate::Clearing`], and the guard and the plan after it stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Grants by need in three tiers; a limit binds only where the kernel's weights
    /// would not keep the grants.
    #[default]
    LeastRestrictive,
    /// Floors, then by bid up to the caps; the limit is the grant.
    Proportional,
}

impl Rule {
    /// Its name, as configuration writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LeastRestrictive => "least-restrictive",
            Self::Proportional => "proportional",
        }
    }
}

impl FromStr for Rule {
    type Err = PolicyError;
    fn from_str(name: &str) -> Result<Self, PolicyError> {
        match name {
            "least-restrictive" => Ok(Self::LeastRestrictive),
            "proportional" => Ok(Self::Proportional),
            _ => Err(PolicyError::UnknownRule(name.chars().take(40).collect())),
        }
    }
}

/// The rule and its guardrails, before they are checked. See [`Policy::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How the market is cleared.
    pub rule: Rule,
    /// A change this small is not written, whatever it is a part of. At most 1000m; 20m unless told.
    pub dead_band: MilliCpu,
    /// Nor is one that is at most this part of the limit, in percent. At most 50; 5 unless told.
    pub dead_band_percent: u64,
    /// The most that one plan takes from a limit of ours, in percent of it.
    /// From 1 to 100; 50 unless told. Growth has no such bound: it is
    /// bounded by what is free.
    pub max_shrink_percent: u64,
    /// The least time between a write and one in the other direction. At most
    /// one hour; 60 s unless told: four cycles, so that a limit cycle of the loop
    /// cannot be faster than people can see it.
    pub reverse_after: Duration,
    /// The least time between two writes in the same direction. At most one
    /// hour; 10 s unless told: less than a cycle, so that a cycle that comes a
    /// little early is not lost and only cycles called by demand jumps wait.
    pub repeat_after: Duration,
    /// Half-life of the smoothing of demand. From 1 ms to one hour; 30 s unless told: two cycles.
    pub half_life: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rule: Rule::default(),
            dead_band: MilliCpu::new(20),
            dead_band_percent: 5,
            max_shrink_percent: 50,
            reverse_after: Duration::from_mins(1),
            repeat_after: Duration::from_secs(10),
            half_life: Duration::from_secs(30),
        }
    }
}

/// The rule and its guardrails, each inside its range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct Policy(Settings);

impl Policy {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`PolicyError::OutOfRange`] names the first constant that is outside.
    pub fn new(settings: Settings) -> Result<Self, PolicyError> {
        const HOUR: u128 = 3_600_000;
        let ms = |d: Duration| d.as_nanos().div_ceil(1_000_000);
        let checks = [
            (
                "the dead-band in millicores",
                u128::from(settings.dead_band.get()),
                0,
                1000,
            ),
            (
                "the dead-band in percent",
                u128::from(settings.dead_band_percent),
                0,
                50,
            ),
            (
                "the largest shrink in percent",
                u128::from(settings.max_shrink_percent),
                1,
                100,
            ),
            (
                "the time before a reversal in ms",
                ms(settings.reverse_after),
                0,
                HOUR,
            ),
            (
                "the time before a repetition in ms",
                ms(settings.repeat_after),
                0,
                HOUR,
            ),
            ("the half-life in ms", ms(settings.half_life), 1, HOUR),
        ];
        for (name, value, least, most) in checks {
            if !(least..=most).contains(&value) {
                return Err(PolicyError::OutOfRange {
                    name,
                    value,
                    least,
                    most,
                });
            }
        }
        Ok(Self(settings))
    }

    /// What was checked.
    pub const fn settings(&self) -> &Settings {
        &self.0
    }

    /// Whether a `change` of a limit of `from` is inside one of the dead-bands.
    pub(crate) fn is_within_dead_band(&self, from: MilliCpu, change: MilliCpu) -> bool {
        change
            <= self
                .0
                .dead_band
                .max(from.scaled(self.0.dead_band_percent, 100))
    }

    /// The least limit that one plan may leave of `from`, rounded up to the quantum.
    pub(crate) fn least_after_shrink(&self, from: MilliCpu) -> MilliCpu {
        (from - from.scaled(self.0.max_shrink_percent, 100)).ceil_to_quantum()
    }
}

impl TryFrom<Settings> for Policy {
    type Error = PolicyError;
    fn try_from(settings: Settings) -> Result<Self, PolicyError> {
        Self::new(settings)
    }
}

impl From<Policy> for Settings {
    fn from(policy: Policy) -> Self {
        policy.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_their_ranges() {
        assert_eq!(Policy::new(Settings::default()), Ok(Policy::default()));
    }

    #[test]
    fn a_constant_outside_its_range_is_refused_by_name() {
        let default = Settings::default();
        let hour = Duration::from_hours(1);
        for wrong in [
            Settings {
                dead_band: MilliCpu::new(1001),
                ..default
            },
            Settings {
                dead_band_percent: 51,
                ..default
            },
            Settings {
                max_shrink_percent: 0,
                ..default
            },
            Settings {
                max_shrink_percent: 101,
                ..default
            },
            Settings {
                reverse_after: hour + Duration::from_nanos(1),
                ..default
            },
            Settings {
                repeat_after: Duration::MAX,
                ..default
            },
            Settings {
                half_life: Duration::ZERO,
                ..default
            },
        ] {
            assert!(Policy::new(wrong).is_err(), "{wrong:?}");
        }
        let message = Policy::new(Settings {
            max_shrink_percent: 0,
            ..default
        })
        .unwrap_err()
        .to_string();
        assert_eq!(
            message,
            "cannot use this market policy: the largest shrink in percent is 0, it must be from 1 to 100"
        );
    }

    #[test]
    fn a_rule_is_read_by_its_name() {
        assert_eq!("proportional".parse(), Ok(Rule::Proportional));
        for rule in [Rule::LeastRestrictive, Rule::Proportional] {
            assert_eq!(rule.name().parse(), Ok(rule));
        }
        assert!(
            "tiers"
                .parse::<Rule>()
                .unwrap_err()
                .to_string()
                .contains("\"tiers\" is no rule")
        );
    }
}
