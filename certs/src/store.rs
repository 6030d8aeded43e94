//! The authorities' Secret: created by whichever replica comes first, adopted and
//! carried on by the others. What stands in it, and why, is [`crate::rotation`]'s.
//!
//! The Secret belongs to the webhook's Deployment, so that it goes away at
//! uninstall. Every write carries the resourceVersion that was read; who loses
//! a race reads again and adopts what the winner wrote.

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Resource};
use mbcas_api::names::{CA_SECRET, ROTATE_ANNOTATION, WEBHOOK_DEPLOYMENT};
use thiserror::Error;
use tracing::info;

use crate::authority::AuthorityError;
use crate::bundle::Bundle;
use crate::report::Event;
use crate::rotation::{Authorities, Known};

/// How often a lost race is taken up again before the next look has to do it.
const ATTEMPTS: usize = 5;

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

impl CaStore {
    /// The Secret in `namespace`, the webhook's own.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), namespace),
            deployments: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
        }
    }

    /// The authorities as they stand, after the step that was due by the clock `now`, if one was;
    /// `settled` is [`Known::settled`]. The clock is read when the Secret was: its answers may set it.
    ///
    /// # Errors
    /// [`StoreError`]. Nothing is half written: a Secret is replaced whole.
    pub async fn ensure(
        &self,
        now: impl Fn() -> SystemTime,
        settled: Option<&Bundle>,
    ) -> Result<(Authorities, Option<Event>), StoreError> {
        let owner = self.owner().await?;
        for _ in 0..ATTEMPTS {
            let found = self.secrets.get_opt(CA_SECRET).await;
            let found = found.map_err(|why| self.failed("read", &why))?;
            let exists = found.is_some();
            let mut secret = found.unwrap_or_else(|| self.blank());
            let data = secret.data.get_or_insert_default();
            let asked = secret.metadata.annotations.get_or_insert_default();
            let known = Known {
                now: now(),
                settled,
                asked: asked.contains_key(ROTATE_ANNOTATION),
            };
            let (held, step) = Authorities::advance(data, known)?;
            let owners = secret.metadata.owner_references.get_or_insert_default();
            if step.is_none() && owners.iter().any(|o| o.uid == owner.uid) {
                return Ok((held, None));
            }
            held.write(data);
            if step
                .as_ref()
                .is_some_and(|(event, _)| *event != Event::Switched)
            {
                asked.remove(ROTATE_ANNOTATION);
            }
            owners.retain(|o| !(o.kind == owner.kind && o.name == owner.name));
            owners.push(owner.clone());
            if self.put(&secret, exists).await? {
                let event = step.map(|(event, reason)| {
                    info!(
                        step = event.as_str(),
                        reason, "the webhook's authority, Secret {}/{CA_SECRET}", self.namespace
                    );
                    event
                });
                return Ok((held, event));
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

    fn blank(&self) -> Secret {
        let label = ("app.kubernetes.io/part-of".to_owned(), "mbcas".to_owned());
        Secret {
            metadata: ObjectMeta {
                name: Some(CA_SECRET.to_owned()),
                namespace: Some(self.namespace.clone()),
                labels: Some(BTreeMap::from([label])),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        }
    }

    /// Writes `secret`; `false` if somebody else created, changed or deleted it meanwhile.
    async fn put(&self, secret: &Secret, exists: bool) -> Result<bool, StoreError> {
        let params = PostParams::default();
        let (act, answer) = if exists {
            let answer = self.secrets.replace(CA_SECRET, &params, secret).await;
            ("update", answer)
        } else {
            ("create", self.secrets.create(&params, secret).await)
        };
        match answer {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(why) => Err(self.failed(act, &why)),
        }
    }

    fn failed(&self, act: &'static str, why: &kube::Error) -> StoreError {
        StoreError::Api {
            act,
            object: format!("Secret {}/{CA_SECRET}", self.namespace),
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

#[cfg(test)]
mod tests;
