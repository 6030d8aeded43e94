//! The webhook's certificates, without a certificate manager and without a leader.
//!
//! ```text
//!   Secret mbcas-webhook-ca              Mutating- and ValidatingWebhookConfiguration
//!   authorities, shared by replicas ───▶ webhooks[*.mbcas.dev].clientConfig.caBundle
//!        │ signs                                   │ must verify
//!        ▼                                         ▼
//!   leaf, one per replica, key only in memory ──▶ served through [`LiveCertificate`]
//! ```
//!
//! | module | what it does |
//! | --- | --- |
//! | [`schedule`] | when a certificate is renewed (pure) |
//! | [`authority`], [`leaf`] | make and sign certificates (pure but for randomness) |
//! | [`bundle`] | sets of authorities, and whether they vouch for a leaf (pure) |
//! | [`rotation`] | how one authority follows another (pure but for randomness) |
//! | [`store`] | the Secret: created or adopted by whichever replica comes first |
//! | [`configuration`] | the one field of the webhook configurations that is ours |
//! | `time` | the API server's clock, by which all of it is judged |
//! | [`pace`] | how often we write, and how long we wait before something counts as seen |
//! | [`resolver`] | the certificate that rustls serves, swapped without a restart |
//! | [`keeper`] | the loop that holds all of it together |
//! | [`files`], [`pair`] | the other mode: a certificate that somebody else keeps in a mounted Secret |
//! | [`report`] | what either of them tells readiness, metrics and log |
//!
//! Every replica runs the same [`Keeper`]. They never talk to each other: the
//! Secret's resourceVersion decides every race, and the loser reads again.

pub mod authority;
pub mod bundle;
pub mod configuration;
pub mod files;
pub mod keeper;
pub mod leaf;
pub mod pace;
pub mod pair;
pub mod report;
pub mod resolver;
pub mod rotation;
pub mod schedule;
pub mod store;
mod time;

#[cfg(test)]
mod fake;

pub use authority::Authority;
pub use bundle::Bundle;
pub use files::Files;
pub use keeper::Keeper;
pub use leaf::Leaf;
pub use report::{Event, Report};
pub use resolver::LiveCertificate;
pub use schedule::Validity;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The one crypto provider of this project.
///
/// It is passed by hand instead of being installed for the whole process, so
/// that no order of initialisation can matter.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The name in the webhook's certificate, and the one by which the API server calls it.
pub fn server_name(namespace: &str) -> String {
    format!("{}.{namespace}.svc", mbcas_api::names::WEBHOOK_SERVICE)
}
