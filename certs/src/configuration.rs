//! The one field of the webhook configuration that is ours: `caBundle`.
//!
//! The chart does not render it, so that a second render never takes it away.
//! It is written by server-side apply with a field manager of its own, which
//! owns this field and nothing else; `webhooks` is a map by `name` there, so
//! the apply names its entry and touches no other.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use mbcas_api::names::{CA_BUNDLE_FIELD_MANAGER, WEBHOOK_CONFIGURATION, WEBHOOK_NAME};
use serde_json::json;
use thiserror::Error;

use crate::bundle::Bundle;
use crate::store::said;

/// Why the configuration could not be read or written.
#[derive(Debug, Error)]
pub enum ConfigurationError {
    /// The API server refused or failed.
    #[error(
        "cannot {act} MutatingWebhookConfiguration {WEBHOOK_CONFIGURATION}: {why}; \
         the webhook's ClusterRole must allow it and the API server must be reachable"
    )]
    Api {
        /// What was tried.
        act: &'static str,
        /// What the API server said.
        why: String,
    },
    /// Our entry is not there.
    #[error(
        "MutatingWebhookConfiguration {WEBHOOK_CONFIGURATION} has no webhook {WEBHOOK_NAME}; \
         install the chart again (helm upgrade)"
    )]
    NoWebhook,
}

/// The configuration as one look found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Our entry's `caBundle`, empty if there is none.
    pub bundle: Vec<u8>,
    resource_version: String,
}

/// The webhook configuration, as one replica sees it.
#[derive(Clone, Debug)]
pub struct Configuration(Api<MutatingWebhookConfiguration>);

impl Configuration {
    /// The cluster's configuration of our name.
    pub fn new(client: Client) -> Self {
        Self(Api::all(client))
    }

    /// Reads what the API server trusts now.
    ///
    /// # Errors
    /// [`ConfigurationError`], also where the configuration or our entry is missing.
    pub async fn read(&self) -> Result<Live, ConfigurationError> {
        let found = self.0.get(WEBHOOK_CONFIGURATION).await;
        live(&found.map_err(|why| ConfigurationError::Api {
            act: "read",
            why: said(&why),
        })?)
    }

    /// Writes `bundle` over what `seen` held.
    ///
    /// Force is right for this field, which is ours whoever wrote it last. The
    /// resourceVersion keeps a replica that read long ago from undoing what
    /// another has written since, and keeps a deleted configuration deleted:
    /// an apply without it would create the object anew.
    ///
    /// # Errors
    /// [`ConfigurationError`]; a conflict is one too and mends itself at the next look.
    pub async fn publish(&self, seen: &Live, bundle: &Bundle) -> Result<Live, ConfigurationError> {
        let ca_bundle = k8s_openapi::ByteString(bundle.pem().into_bytes());
        let patch = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": WEBHOOK_CONFIGURATION, "resourceVersion": seen.resource_version },
            "webhooks": [{ "name": WEBHOOK_NAME, "clientConfig": { "caBundle": ca_bundle } }],
        });
        let params = PatchParams::apply(CA_BUNDLE_FIELD_MANAGER).force();
        let written = self
            .0
            .patch(WEBHOOK_CONFIGURATION, &params, &Patch::Apply(patch))
            .await;
        live(&written.map_err(|why| ConfigurationError::Api {
            act: "write the caBundle of",
            why: said(&why),
        })?)
    }
}

fn live(configuration: &MutatingWebhookConfiguration) -> Result<Live, ConfigurationError> {
    let webhook = configuration
        .webhooks
        .iter()
        .flatten()
        .find(|webhook| webhook.name == WEBHOOK_NAME);
    let client = &webhook.ok_or(ConfigurationError::NoWebhook)?.client_config;
    let bundle = client
        .ca_bundle
        .as_ref()
        .map(|bytes| bytes.0.clone())
        .unwrap_or_default();
    let resource_version = configuration
        .metadata
        .resource_version
        .clone()
        .unwrap_or_default();
    Ok(Live {
        bundle,
        resource_version,
    })
}
