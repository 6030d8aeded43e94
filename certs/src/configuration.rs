//! The one field of the webhook configurations that is ours: `caBundle`.
//!
//! The chart does not render it, so that a second render never takes it away.
//! It is written by server-side apply with a field manager of its own, which
//! owns this field and nothing else; `webhooks` is a map by `name` there, so
//! the apply names our entries and touches no other. It names all of ours that
//! are there: an apply that leaves one out gives its field up.

use futures::future::ready;
use futures::{Stream, StreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use mbcas_api::names::{
    AUDIT_WEBHOOK_NAME, CA_BUNDLE_FIELD_MANAGER, VALIDATING_WEBHOOK_CONFIGURATION,
    WEBHOOK_CONFIGURATION, WEBHOOK_NAME, WORKLOADS_WEBHOOK_NAME,
};
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;

use crate::bundle::Bundle;
use crate::report::Told;
use crate::store::said;

/// Why a configuration could not be read or written.
#[derive(Debug, Error)]
pub enum ConfigurationError {
    /// The API server refused or failed.
    #[error(
        "cannot {act} {kind} {name}: {}; \
         the webhook's ClusterRole must allow it and the API server must be reachable",
        said(.why)
    )]
    Api {
        /// What was tried.
        act: &'static str,
        /// On which kind of configuration.
        kind: &'static str,
        /// Its name.
        name: &'static str,
        /// What the API server said.
        why: kube::Error,
    },
    /// What the API server sent is no webhook configuration.
    #[error(
        "cannot read {kind} {name}: it is not what the API server's documentation says ({why})"
    )]
    Shape {
        /// The kind of configuration.
        kind: &'static str,
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        why: serde_json::Error,
    },
}

impl ConfigurationError {
    /// The API server's answer, as an HTTP status.
    fn code(&self) -> Option<u16> {
        match self {
            Self::Api {
                why: kube::Error::Api(status),
                ..
            } => Some(status.code),
            _ => None,
        }
    }

    /// Whether somebody else was quicker, which mends itself at the next look.
    pub fn is_lost_race(&self) -> bool {
        matches!(self.code(), Some(404 | 409))
    }

    /// Whether we may not do this at all, so that waiting for it would be waiting for ever.
    pub fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }
}

/// One of our entries, as one look found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The webhook's name.
    pub name: &'static str,
    /// Whom the API server trusts when it calls this one.
    pub bundle: Bundle,
}

/// A configuration as one look found it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Our entries that are there: none, where the configuration is not.
    pub entries: Vec<Entry>,
    resource_version: Option<String>,
}

/// One of the two webhook configurations, as one replica sees it.
#[derive(Clone, Debug)]
pub struct Configuration {
    api: Api<DynamicObject>,
    /// The kind of configuration.
    pub kind: &'static str,
    /// Its name.
    pub name: &'static str,
    entries: &'static [&'static str],
}

/// The little of a webhook configuration that concerns us; the two kinds agree in it.
#[derive(Deserialize)]
struct Shape {
    #[serde(default)]
    webhooks: Vec<Webhook>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    name: String,
    client_config: ClientConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientConfig {
    ca_bundle: Option<ByteString>,
}

impl Configuration {
    /// The cluster's configurations of ours; the mutating one, which matters most, first.
    pub fn ours(client: &Client) -> [Self; 2] {
        let of = |resource: &ApiResource, kind, name, entries| Self {
            api: Api::all_with(client.clone(), resource),
            kind,
            name,
            entries,
        };
        [
            of(
                &ApiResource::erase::<MutatingWebhookConfiguration>(&()),
                "MutatingWebhookConfiguration",
                WEBHOOK_CONFIGURATION,
                &[WEBHOOK_NAME],
            ),
            of(
                &ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
                "ValidatingWebhookConfiguration",
                VALIDATING_WEBHOOK_CONFIGURATION,
                &[WORKLOADS_WEBHOOK_NAME, AUDIT_WEBHOOK_NAME],
            ),
        ]
    }

    /// Reads what the API server trusts now.
    ///
    /// # Errors
    /// [`ConfigurationError`]; a configuration or an entry that is not there is none.
    pub async fn read(&self) -> Result<Live, ConfigurationError> {
        let found = self.api.get_opt(self.name).await;
        match found.map_err(|why| self.failed("read", why))? {
            Some(object) => self.live(object),
            None => Ok(Live::default()),
        }
    }

    /// Writes `bundle` into each of the entries that `seen` had.
    ///
    /// Force is right for this field, which is ours whoever wrote it last. The
    /// resourceVersion keeps a replica that read long ago from undoing what
    /// another has written since, and keeps what was deleted deleted: an apply
    /// without it would create the object, or an entry, anew.
    ///
    /// # Errors
    /// [`ConfigurationError`], also for a lost race.
    pub async fn publish(&self, seen: &Live, bundle: &Bundle) -> Result<Live, ConfigurationError> {
        let ca_bundle = ByteString(bundle.pem().into_bytes());
        let entry =
            |entry: &Entry| json!({"name": entry.name, "clientConfig": {"caBundle": ca_bundle}});
        let patch = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": self.kind,
            "metadata": {"name": self.name, "resourceVersion": seen.resource_version},
            "webhooks": seen.entries.iter().map(entry).collect::<Vec<_>>(),
        });
        let params = PatchParams::apply(CA_BUNDLE_FIELD_MANAGER).force();
        let written = self
            .api
            .patch(self.name, &params, &Patch::Apply(patch))
            .await;
        self.live(written.map_err(|why| self.failed("write the caBundle of", why))?)
    }

    /// What is to be said about those of our entries that `live` lacks.
    pub fn missing(&self, live: &Live) -> impl Iterator<Item = String> {
        let is_there = |name: &str| live.entries.iter().any(|entry| entry.name == name);
        self.entries
            .iter()
            .filter(move |name| !is_there(name))
            .map(|entry| {
                let (kind, name) = (self.kind, self.name);
                format!(
                    "{kind} {name} has no webhook {entry}, so nobody calls it; \
                 if that is not meant, install the chart again (helm upgrade)"
                )
            })
    }

    /// Yields whenever the configuration may have changed, and never ends. Where
    /// watching fails it says so once, and tries again ever later.
    pub fn changes(&self) -> impl Stream<Item = ()> + Send + use<> {
        let (kind, name) = (self.kind, self.name);
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let events = watcher(self.api.clone(), only).default_backoff();
        let mut told = Told::new("a webhook configuration is watched again");
        events.filter_map(move |event| {
            let news = match event {
                // Only the announcement of a list, which may still fail.
                Ok(watcher::Event::Init) => None,
                Ok(_) => {
                    told.tell(&[]);
                    Some(())
                }
                Err(why) => {
                    told.tell(&[format!(
                        "cannot watch {kind} {name}: {why}; the webhook's ClusterRole must allow list and \
                         watch. Until then a caBundle that somebody overwrites is repaired some seconds later"
                    )]);
                    None
                }
            };
            ready(news)
        })
    }

    fn live(&self, object: DynamicObject) -> Result<Live, ConfigurationError> {
        let shape = serde_json::from_value::<Shape>(object.data);
        let shape = shape.map_err(|why| ConfigurationError::Shape {
            kind: self.kind,
            name: self.name,
            why,
        })?;
        let entry = |name: &&'static str| {
            let found = shape
                .webhooks
                .iter()
                .find(|webhook| webhook.name == *name)?;
            let bundle = found.client_config.ca_bundle.as_ref();
            let text = bundle.map(|bytes| String::from_utf8_lossy(&bytes.0));
            Some(Entry {
                name,
                bundle: Bundle::read(&text.unwrap_or_default()),
            })
        };
        Ok(Live {
            entries: self.entries.iter().filter_map(entry).collect(),
            resource_version: object.metadata.resource_version,
        })
    }

    fn failed(&self, act: &'static str, why: kube::Error) -> ConfigurationError {
        ConfigurationError::Api {
            act,
            kind: self.kind,
            name: self.name,
            why,
        }
    }
}
