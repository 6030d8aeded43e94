//! The cluster as the loop needs it: watches, each kept as small views.
//!
//! A typed `Pod` is some 50 kB; a [`PodView`] takes 256 bytes at most. Lists come
//! in pages, each of their pods is projected while it is being read ([`Sighting`]),
//! and every other object as it arrives.
//!
//! | watched | without it |
//! | --- | --- |
//! | pods, nodes, labelled namespaces | there is no market: cycles wait for them |
//! | BudgetPolicies, LimitRanges, ResourceQuotas, autoscalers | cycles go on without, and say so |

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Error, Event, watcher};
use kube::{Client, Resource};
use mbcas_runtime::ready;

use crate::autoscalers::{HorizontalView, VerticalView};
use crate::budget_policies::PolicyView;
use crate::constraints::{LimitRangeView, QuotaView};

mod node;
mod pod;
mod pods;
mod shared;

pub use node::{NamespaceView, NodeView};
#[cfg(test)]
pub(crate) use pod::pod_view;
pub use pod::{Asks, ContainerView, Participant, PodView, Sighting, Template, Workload};
pub use pods::Pods;
pub use shared::Name;

/// How many objects are asked for at a time. A page is there as text three times over while it is
/// read, 10 kB for each pod.
const PAGE: u32 = 50;

/// Namespace and name, so that a namespace's objects are next to each other.
pub type ObjectKey = (String, String);

/// The views.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Pods that occupy a node.
    pub pods: Pods,
    /// Nodes, by name.
    pub nodes: BTreeMap<String, NodeView>,
    /// The labelled namespaces, by name.
    pub namespaces: BTreeMap<String, NamespaceView>,
    /// The BudgetPolicies that count, by namespace.
    pub policies: BTreeMap<String, PolicyView>,
    /// LimitRanges that say something about CPU limits.
    pub limit_ranges: BTreeMap<ObjectKey, LimitRangeView>,
    /// ResourceQuotas that say something about CPU limits.
    pub quotas: BTreeMap<ObjectKey, QuotaView>,
    /// HorizontalPodAutoscalers that scale on CPU.
    pub horizontal: BTreeMap<ObjectKey, HorizontalView>,
    /// VerticalPodAutoscalers that act on running pods.
    pub vertical: BTreeMap<ObjectKey, VerticalView>,
    /// Kinds that may not be read, or are not installed.
    pub unseen: BTreeSet<String>,
}

impl View {
    /// An empty one. What is put into it as it is here is shared with this one.
    fn aside(&self) -> Self {
        Self {
            pods: self.pods.aside(),
            ..Self::default()
        }
    }
}

/// Those of `objects` that are in `namespace`.
pub(crate) fn within<'a, V>(
    objects: &'a BTreeMap<ObjectKey, V>,
    namespace: &'a str,
) -> impl Iterator<Item = (&'a str, &'a V)> {
    objects
        .range((namespace.to_owned(), String::new())..)
        .take_while(move |((of, _), _)| of == namespace)
        .map(|((_, name), object)| (name.as_str(), object))
}

/// Where an object of a namespace is kept.
pub(crate) fn key(meta: &ObjectMeta) -> ObjectKey {
    (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

/// A kind of which the views keep something.
pub trait Watched:
    Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static
{
    /// Whether cycles go on where it may not be read, or is not installed.
    const IS_OPTIONAL: bool;

    /// Takes what is needed of it into `view`.
    fn keep(self, view: &mut View);

    /// Takes the object that has `meta` out of `view`.
    fn forget(meta: &ObjectMeta, view: &mut View);

    /// Replaces all of its kind in `view` by those in `listed`.
    fn swap(view: &mut View, listed: View);
}

/// One object that cannot be read must not keep all others from us.
impl<K: Watched> Watched for DeserializeGuard<K> {
    const IS_OPTIONAL: bool = K::IS_OPTIONAL;

    fn keep(self, view: &mut View) {
        match self.0 {
            Ok(object) => object.keep(view),
            Err(error) => {
                let (kind, (namespace, name)) = (K::plural(&()), key(&error.metadata));
                tracing::warn!(%kind, namespace, name, %error, "An object cannot be read, so it changes nothing");
            }
        }
    }

    fn forget(meta: &ObjectMeta, view: &mut View) {
        K::forget(meta, view);
    }

    fn swap(view: &mut View, listed: View) {
        K::swap(view, listed);
    }
}

/// The views, kept up to date by [`Cluster::watch`].
#[derive(Clone, Debug, Default)]
pub struct Cluster(Arc<Mutex<View>>);

impl Cluster {
    /// A copy of the views as they stand.
    pub fn view(&self) -> View {
        self.lock().clone()
    }

    /// Views that stand still, for tests.
    #[cfg(test)]
    pub(crate) fn with(view: View) -> Self {
        Self(Arc::new(Mutex::new(view)))
    }

    fn lock(&self) -> MutexGuard<'_, View> {
        // A view is replaced field by field; a panic in between leaves it usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps one kind up to date until the process ends.
    ///
    /// # Errors
    /// None: a watch that breaks is taken up again.
    pub async fn watch<K: Watched>(
        self,
        client: Client,
        config: Config,
        ready: ready::Handle,
    ) -> Result<(), Infallible> {
        // Without a version, API servers from 1.34 on serve the pages from their watch caches
        // (ListFromCacheSnapshot). "Any" version is served from there by all of them, but many
        // ignore the limit then and send everything at once.
        let config = config.page_size(PAGE);
        let stream = watcher(Api::<K>::all(client), config).default_backoff();
        self.follow(stream, ready).await
    }

    /// Takes every event into the view. A relist is gathered aside and swapped
    /// in whole, so that no cycle sees half a cluster.
    async fn follow<K: Watched>(
        &self,
        stream: impl Stream<Item = Result<Event<K>, Error>>,
        ready: ready::Handle,
    ) -> Result<(), Infallible> {
        let kind = K::plural(&());
        let mut stream = std::pin::pin!(stream);
        let mut relisted = View::default();
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Init) => relisted = self.lock().aside(),
                Ok(Event::InitApply(object)) => object.keep(&mut relisted),
                Ok(Event::InitDone) => {
                    let mut view = self.lock();
                    K::swap(&mut view, std::mem::take(&mut relisted));
                    view.unseen.remove(kind.as_ref());
                    ready.set(true);
                }
                Ok(Event::Apply(object)) => object.keep(&mut self.lock()),
                Ok(Event::Delete(object)) => K::forget(object.meta(), &mut self.lock()),
                Err(error) => match absence(&error).filter(|_| K::IS_OPTIONAL) {
                    Some(code) => {
                        self.go_without::<K>(&kind, code, &error);
                        ready.set(true);
                    }
                    None => {
                        tracing::warn!(%kind, %error, "A watch broke; it is being taken up again");
                    }
                },
            }
        }
        Ok(())
    }

    /// Notes that a kind cannot be seen; what it asked for before stays in force
    /// where it is only hidden (403), and goes where it is not there any more (404).
    fn go_without<K: Watched>(&self, kind: &str, code: u16, error: &Error) {
        let mut view = self.lock();
        if code == 404 {
            K::swap(&mut view, View::default());
        }
        if view.unseen.insert(kind.to_owned()) {
            tracing::warn!(%kind, %error, "A kind may not be read, or is not installed; going on without it");
        }
    }
}

/// The code of an answer that says that a kind may not be read, or is not there.
fn absence(error: &Error) -> Option<u16> {
    match error {
        Error::InitialListFailed(kube::Error::Api(status)) => {
            Some(status.code).filter(|code| matches!(code, 403 | 404))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
