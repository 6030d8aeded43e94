//! Numbers with their unit in the type.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// CPU in millicores: 1000 is one core.
///
/// Arithmetic saturates: capacities and limits are clamped by their owner, and
/// a sum that would overflow 64 bits of millicores names no machine there is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MilliCpu(u64);

impl MilliCpu {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The market's unit of account, 10 millicores.
    ///
    /// The kubelet writes a CFS quota per 100 ms period and never less than
    /// 1 ms, which is 10m; the systemd cgroup driver rounds to multiples of
    /// it. A finer limit would make the pod's status differ from its spec for
    /// ever (`kubernetes/kubernetes` `pkg/kubelet/cm/helpers_linux.go`,
    /// runc issue 4622).
    pub const QUANTUM: Self = Self(10);

    /// `value` millicores.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number of millicores.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The largest multiple of [`Self::QUANTUM`] that is not above `self`.
    #[must_use]
    pub const fn floor_to_quantum(self) -> Self {
        Self(self.0 - self.0 % Self::QUANTUM.0)
    }

    /// The smallest multiple of [`Self::QUANTUM`] that is not below `self`.
    #[must_use]
    pub const fn ceil_to_quantum(self) -> Self {
        Self(self.0.next_multiple_of(Self::QUANTUM.0))
    }

    /// The distance between two amounts, whichever is larger.
    #[must_use]
    pub const fn abs_diff(self, other: Self) -> Self {
        Self(self.0.abs_diff(other.0))
    }

    /// `self × parts / whole`, rounded down; the product is taken in 128 bits where it needs them.
    /// A `whole` of zero gives zero.
    #[must_use]
    pub fn scaled(self, parts: u64, whole: u64) -> Self {
        if let Some(product) = self.0.checked_mul(parts) {
            return Self(product.checked_div(whole).unwrap_or(0));
        }
        let product = u128::from(self.0) * u128::from(parts);
        let share = product.checked_div(u128::from(whole)).unwrap_or(0);
        Self(u64::try_from(share).unwrap_or(u64::MAX))
    }
}

impl Add for MilliCpu {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for MilliCpu {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for MilliCpu {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl SubAssign for MilliCpu {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for MilliCpu {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for MilliCpu {
    /// Kubernetes' own notation: `250m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}m", self.0))
    }
}

/// A pod's weight in the market: an integer from [`Budget::MIN`] to [`Budget::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Budget(u32);

/// A number that is not a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} is not a budget: use a whole number from 1 to 1000000")]
pub struct BudgetError(pub u64);

impl Budget {
    /// The smallest weight: a pod that takes part has some.
    pub const MIN: Self = Self(1);
    /// The largest weight. With [`Demand`] in basis points an effective bid
    /// stays below 2^34, and a node of 2^32 millicores still multiplies with
    /// it inside 128 bits without a check.
    pub const MAX: Self = Self(1_000_000);
    /// The weight of a pod that names none.
    pub const DEFAULT: Self = Self(100);

    /// Checks the range.
    ///
    /// # Errors
    /// [`BudgetError`] outside [`Self::MIN`]..=[`Self::MAX`].
    pub fn new(value: u64) -> Result<Self, BudgetError> {
        match u32::try_from(value) {
            Ok(v) if (Self::MIN.0..=Self::MAX.0).contains(&v) => Ok(Self(v)),
            _ => Err(BudgetError(value)),
        }
    }

    /// The weight.
    pub const fn get(self) -> u64 {
        self.0 as u64
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<u64> for Budget {
    type Error = BudgetError;
    fn try_from(value: u64) -> Result<Self, BudgetError> {
        Self::new(value)
    }
}

impl From<Budget> for u64 {
    fn from(budget: Budget) -> Self {
        budget.get()
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Demand intensity in basis points: 0 is content, 10 000 is as urgent as can be.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u16", into = "u16")]
pub struct Demand(u16);

/// A number that is not a demand intensity.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("{0} is not a demand intensity: it must be a number from 0 to 1")]
pub struct DemandError(pub f64);

impl Demand {
    /// Content.
    pub const ZERO: Self = Self(0);
    /// As urgent as can be.
    pub const FULL: Self = Self(10_000);
    /// What a container counts with when nothing is known about it: neither
    /// content nor urgent.
    pub const NEUTRAL: Self = Self(5_000);

    /// Clamps `basis_points` to at most [`Self::FULL`].
    pub const fn from_basis_points(basis_points: u64) -> Self {
        if basis_points >= Self::FULL.basis_points() {
            return Self::FULL;
        }
        #[allow(clippy::cast_possible_truncation)] // below 10 000
        Self(basis_points as u16)
    }

    /// Reads an intensity as it stands on the wire, rounding to the nearest basis point.
    ///
    /// # Errors
    /// [`DemandError`] for NaN, infinities and everything outside 0..=1.
    pub fn from_fraction(fraction: f64) -> Result<Self, DemandError> {
        if !(0.0..=1.0).contains(&fraction) {
            return Err(DemandError(fraction));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // checked: 0..=10000
        Ok(Self((fraction * 10_000.0).round() as u16))
    }

    /// The intensity in basis points, 0..=10 000.
    pub const fn basis_points(self) -> u64 {
        self.0 as u64
    }

    /// The intensity as it stands on the wire, 0..=1.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl TryFrom<u16> for Demand {
    type Error = DemandError;
    fn try_from(basis_points: u16) -> Result<Self, DemandError> {
        Self::from_fraction(f64::from(basis_points) / 10_000.0)
    }
}

impl From<Demand> for u16 {
    fn from(demand: Demand) -> Self {
        demand.0
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.2}", self.fraction()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn budgets_outside_their_range_are_refused_by_name() {
        assert_eq!(Budget::new(0), Err(BudgetError(0)));
        assert_eq!(Budget::new(1_000_001), Err(BudgetError(1_000_001)));
        assert_eq!(Budget::new(u64::MAX), Err(BudgetError(u64::MAX)));
        assert_eq!(Budget::new(600).map(Budget::get), Ok(600));
    }

    #[test]
    fn demand_refuses_what_is_not_a_number_from_0_to_1() {
        for bad in [f64::NAN, f64::INFINITY, -0.1, 1.000_1, -f64::INFINITY] {
            assert!(Demand::from_fraction(bad).is_err(), "{bad}");
        }
        assert_eq!(Demand::from_fraction(1.0), Ok(Demand::FULL));
        assert_eq!(Demand::from_fraction(0.0), Ok(Demand::ZERO));
        assert_eq!(Demand::from_fraction(-0.0), Ok(Demand::ZERO));
    }

    #[test]
    fn a_share_of_nothing_is_nothing() {
        assert_eq!(MilliCpu::new(1500).scaled(1, 0), MilliCpu::ZERO);
        assert_eq!(MilliCpu::new(1500).scaled(1, 3), MilliCpu::new(500));
        assert_eq!(
            MilliCpu::new(u64::MAX).scaled(u64::MAX, 1),
            MilliCpu::new(u64::MAX)
        );
    }

    proptest! {
        #[test]
        fn demand_survives_the_wire(bp in 0u64..=10_000) {
            let demand = Demand::from_basis_points(bp);
            prop_assert_eq!(Demand::from_fraction(demand.fraction()), Ok(demand));
        }

        #[test]
        fn quanta_bracket_every_amount(m in 0u64..=u64::MAX - 10) {
            let cpu = MilliCpu::new(m);
            prop_assert!(cpu.floor_to_quantum() <= cpu && cpu <= cpu.ceil_to_quantum());
            prop_assert!((cpu.ceil_to_quantum() - cpu.floor_to_quantum()).get().is_multiple_of(10));
        }
    }
}
