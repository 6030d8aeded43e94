//! The authority's Secret: created by whichever replica comes first, adopted by the others.
//!
//! ```text
//! ca.crt   the signing authority, then those that may still be in use (PEM)
//! ca.key   the signing authority's private key (PEM)
//! ```
//!
//! The Secret belongs to the webhook's Deployment, so that it goes away at
//! uninstall. Every write carries the resourceVersion that was read; who loses
//! a race reads again and adopts what the winner wrote.

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Resource};
use mbcas_api::names::{CA_SECRET, WEBHOOK_DEPLOYMENT};
use thiserror::Error;
use tracing::{info, warn};

use crate::authority::{Authority, AuthorityError};
use crate::bundle::Bundle;

/// The key of the certificates.
pub const CERTIFICATE_KEY: &str = "ca.crt";
/// The key of the private key.
pub const PRIVATE_KEY: &str = "ca.key";

/// How often a lost race is taken up again before the next tick has to do it.
const ATTEMPTS: usize = 5;

/// What the Secret holds.
#[derive(Debug)]
pub struct Held {
    /// The authority that signs.
    pub authority: Authority,
    /// It and those whose leaves may still be in use.
    pub bundle: Bundle,
}

/// Why the authority could not be read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The API server refused or failed.
    #[error(
        "cannot {act} {object}: {why}; the webhook's Role must allow it and the API server must be reachable"
    )]
    Api {
        /// What was tried.
        act: &'static str,
        /// On what.
        object: String,
        /// What the API server said.
        why: String,
    },
    /// The Deployment has no uid to refer to.
    #[error("Deployment {0}/{WEBHOOK_DEPLOYMENT} has no uid, so it cannot own Secret {CA_SECRET}")]
    NoOwner(String),
    /// A new authority could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Others were quicker, again and again.
    #[error(
        "Secret {0}/{CA_SECRET} changed {ATTEMPTS} times while it was being written; trying again later"
    )]
    Contended(String),
}

/// The Secret, as one replica sees it.
#[derive(Clone, Debug)]
pub struct CaStore {
    secrets: Api<Secret>,
    deployments: Api<Deployment>,
    namespace: String,
}

/// What is to be done about a Secret that was found.
enum Found {
    /// It serves.
    Good(Held),
    /// It must be written anew, for this reason.
    Replace(String),
    /// Its content serves, but at uninstall it would stay behind.
    Orphan(Held),
}

impl CaStore {
    /// The Secret in `namespace`, the webhook's own.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), namespace),
            deployments: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
        }
    }

    /// The authority as it stands at `now`: read, or made if there is none,
    /// none that can be read, or one that is due for renewal.
    ///
    /// # Errors
    /// [`StoreError`]. Nothing is half written: a Secret is replaced whole.
    pub async fn ensure(&self, now: SystemTime) -> Result<Held, StoreError> {
        let owner = self.owner().await?;
        for _ in 0..ATTEMPTS {
            let found = self
                .secrets
                .get_opt(CA_SECRET)
                .await
                .map_err(|why| self.failed("read Secret", &why))?;
            let outcome = match found {
                None => self.create(&owner, now).await?,
                Some(secret) => match judge(&secret, &owner, now) {
                    Found::Good(held) => Some(held),
                    Found::Replace(reason) => {
                        info!(
                            reason,
                            "replacing the authority in Secret {}/{CA_SECRET}", self.namespace
                        );
                        self.replace(secret, &owner, now).await?
                    }
                    Found::Orphan(held) => self.take_over(secret, &owner).await?.then_some(held),
                },
            };
            if let Some(held) = outcome {
                return Ok(held);
            }
        }
        Err(StoreError::Contended(self.namespace.clone()))
    }

    async fn owner(&self) -> Result<OwnerReference, StoreError> {
        let deployment = self.deployments.get(WEBHOOK_DEPLOYMENT).await;
        let deployment = deployment.map_err(|why| StoreError::Api {
            act: "read Deployment",
            object: format!("{}/{WEBHOOK_DEPLOYMENT}", self.namespace),
            why: said(&why),
        })?;
        // Neither a controller nor blocking: it only says what the Secret goes away with.
        deployment
            .owner_ref(&())
            .ok_or_else(|| StoreError::NoOwner(self.namespace.clone()))
    }

    async fn create(
        &self,
        owner: &OwnerReference,
        now: SystemTime,
    ) -> Result<Option<Held>, StoreError> {
        let (held, data) = fresh("", now)?;
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(CA_SECRET.to_owned()),
                namespace: Some(self.namespace.clone()),
                labels: Some(BTreeMap::from([(
                    "app.kubernetes.io/part-of".to_owned(),
                    "mbcas".to_owned(),
                )])),
                owner_references: Some(vec![owner.clone()]),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some(data),
            ..Secret::default()
        };
        let answer = self.secrets.create(&PostParams::default(), &secret).await;
        if answer.is_ok() {
            info!(
                "made the webhook's authority, Secret {}/{CA_SECRET}",
                self.namespace
            );
        }
        won(answer.map(drop))
            .map(|won| won.then_some(held))
            .map_err(|why| self.failed("create Secret", &why))
    }

    async fn replace(
        &self,
        mut secret: Secret,
        owner: &OwnerReference,
        now: SystemTime,
    ) -> Result<Option<Held>, StoreError> {
        let old = text(&secret, CERTIFICATE_KEY);
        let (held, data) = fresh(&old, now)?;
        secret.data.get_or_insert_default().extend(data);
        Ok(self.take_over(secret, owner).await?.then_some(held))
    }

    /// Writes `secret` back with our Deployment as its owner; `false` if another writer was quicker.
    async fn take_over(
        &self,
        mut secret: Secret,
        owner: &OwnerReference,
    ) -> Result<bool, StoreError> {
        let owners = secret.metadata.owner_references.get_or_insert_default();
        owners.retain(|o| !(o.kind == owner.kind && o.name == owner.name));
        owners.push(owner.clone());
        let answer = self
            .secrets
            .replace(CA_SECRET, &PostParams::default(), &secret)
            .await;
        won(answer.map(drop)).map_err(|why| self.failed("update Secret", &why))
    }

    fn failed(&self, act: &'static str, why: &kube::Error) -> StoreError {
        StoreError::Api {
            act,
            object: format!("{}/{CA_SECRET}", self.namespace),
            why: said(why),
        }
    }
}

/// What the API server said, without the noise around it.
pub(crate) fn said(why: &kube::Error) -> String {
    match why {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => other.to_string(),
    }
}

/// A lost race is no error: somebody else created, changed or deleted the object meanwhile.
fn won(answer: Result<(), kube::Error>) -> Result<bool, kube::Error> {
    match answer {
        Ok(()) => Ok(true),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
        Err(why) => Err(why),
    }
}

fn judge(secret: &Secret, owner: &OwnerReference, now: SystemTime) -> Found {
    let certificates = text(secret, CERTIFICATE_KEY);
    let authority = match Authority::from_pem(&certificates, &text(secret, PRIVATE_KEY)) {
        Ok(authority) => authority,
        Err(why) => {
            warn!("Secret {CA_SECRET} is not usable: {why}");
            return Found::Replace(why.to_string());
        }
    };
    if authority.validity().is_due(now) {
        return Found::Replace("two thirds of its life are over".to_owned());
    }
    let bundle = Bundle::new(authority.certificate_pem(), &certificates, now);
    let ours = secret
        .metadata
        .owner_references
        .iter()
        .flatten()
        .any(|o| o.uid == owner.uid);
    let held = Held { authority, bundle };
    if ours {
        Found::Good(held)
    } else {
        Found::Orphan(held)
    }
}

/// A new authority; those of `old` that still hold are trusted beside it.
fn fresh(old: &str, now: SystemTime) -> Result<(Held, BTreeMap<String, ByteString>), StoreError> {
    let authority = Authority::generate(now)?;
    let bundle = Bundle::new(authority.certificate_pem(), old, now);
    let data = BTreeMap::from([
        (
            CERTIFICATE_KEY.to_owned(),
            ByteString(bundle.pem().into_bytes()),
        ),
        (
            PRIVATE_KEY.to_owned(),
            ByteString(authority.key_pem().into_bytes()),
        ),
    ]);
    Ok((Held { authority, bundle }, data))
}

/// A value as text; what is absent or no text is empty, and an empty certificate is refused with a reason.
fn text(secret: &Secret, key: &str) -> String {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    value
        .and_then(|bytes| String::from_utf8(bytes.0.clone()).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
