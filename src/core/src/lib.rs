//! The vocabulary that every room of MBCAS shares, and nothing that touches the world.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`units`] | [`MilliCpu`], [`Budget`], [`Demand`]: numbers that cannot hold an illegal value |
//! | [`quantity`] | Kubernetes quantities, parsed exactly as the API server parses them |
//! | [`annotations`] | the grammar of `mbcas.*` pod annotations; the webhook's validator *is* the loop's parser |
//! | [`demand`] | the demand contract: what an agent reports, how a signal becomes an intensity |
//! | [`exposition`] | the few lines of Prometheus text that kubelets and our own processes write |
//! | [`identity`] | ordered names of pods and containers, so that ties break the same way everywhere |
//!
//! There is no clock, no log, no task and no cluster here: time is an argument, and so is everything else.

pub mod annotations;
pub mod demand;
pub mod exposition;
pub mod identity;
pub mod quantity;
pub mod units;

pub use annotations::{Settings, SettingsError};
pub use demand::DemandReport;
pub use identity::{ContainerId, PodId};
pub use quantity::{Quantity, QuantityError};
pub use units::{Budget, Demand, MilliCpu};
