//! What the market refuses.

use mbcas_core::{ContainerId, MilliCpu};
use thiserror::Error;

/// Why a market could not be cleared. Nothing was granted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MarketError {
    /// The bounds of a participant contradict each other.
    #[error(
        "cannot clear the market: {id} has a cap of {cap} below its floor of {floor}; raise the cap or lower the floor"
    )]
    CapBelowFloor {
        /// Whose bounds.
        id: ContainerId,
        /// The least it may be given.
        floor: MilliCpu,
        /// The most it may be given.
        cap: MilliCpu,
    },
    /// A container is there more than once.
    #[error("cannot clear the market: {id} takes part twice; list every container once")]
    Duplicate {
        /// Which container.
        id: ContainerId,
    },
}

/// Why a set of constants is no policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// A constant is outside its range.
    #[error("cannot use this market policy: {name} is {value}, it must be from {least} to {most}")]
    OutOfRange {
        /// The constant.
        name: &'static str,
        /// What it was.
        value: u128,
        /// The least it may be.
        least: u128,
        /// The most it may be.
        most: u128,
    },
    /// No clearing rule has this name.
    #[error(
        "cannot use this market policy: {0:?} is no rule, write least-restrictive or proportional"
    )]
    UnknownRule(String),
}
