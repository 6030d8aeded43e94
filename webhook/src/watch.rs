//! The watches that keep [`Cache`] fresh.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::join4;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{LimitRange, Pod, ResourceQuota};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Error, Event, watcher};
use kube::{Api, Client, Resource};
use mbcas_api::BudgetPolicy;
use mbcas_runtime::ready::Handle;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::cache::{Cache, Rule, World};

/// Pods that are done hold nothing, however long they are kept.
const NOT_DONE: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Watches for ever. `ready` is set when everything has been listed once, or
/// cannot be: admission goes on without what it may not see, or what is not
/// installed, and the log says so.
pub async fn watch(client: Client, cache: Arc<Cache>, ready: Handle) -> Infallible {
    let (listed, mut all_listed) = watch::channel(0_u8);
    let pods = pods(client.clone(), &cache, &listed);
    let policies = rules::<BudgetPolicy>(client.clone(), &cache, &listed);
    let ranges = rules::<LimitRange>(client.clone(), &cache, &listed);
    let quotas = rules::<ResourceQuota>(client, &cache, &listed);
    let readiness = async {
        if all_listed.wait_for(|kinds| *kinds == 4).await.is_ok() {
            info!(pods = cache.pods(), "Caches are filled");
            ready.set(true);
        }
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        (never, ..) = join4(pods, policies, ranges, quotas) => never,
        never = readiness => never,
    }
}

/// Counts a kind once, when it is listed or cannot be.
struct Once<'a>(Option<&'a watch::Sender<u8>>);

impl Once<'_> {
    fn done(&mut self) {
        if let Some(listed) = self.0.take() {
            listed.send_modify(|kinds| *kinds += 1);
        }
    }
}

async fn pods(client: Client, cache: &Cache, listed: &watch::Sender<u8>) -> Infallible {
    let api = Api::<PartialObjectMeta<Pod>>::all(client);
    let mut events = watcher(api, Config::default().fields(NOT_DONE))
        .default_backoff()
        .boxed();
    let (mut round, mut once) = (0, Once(Some(listed)));
    loop {
        match events.next().await {
            Some(Ok(Event::Init)) => round += 1,
            Some(Ok(Event::InitApply(pod) | Event::Apply(pod))) => {
                cache.pod_seen(&pod.metadata, round);
            }
            Some(Ok(Event::Delete(pod))) => cache.pod_gone(&pod.metadata),
            Some(Ok(Event::InitDone)) => {
                cache.pods_listed(round);
                once.done();
            }
            Some(Err(error)) => failed("pods", &error, &mut once),
            None => std::future::pending().await,
        }
    }
}

async fn rules<K>(client: Client, cache: &Cache, listed: &watch::Sender<u8>) -> Infallible
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Rule
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    // One object that cannot be read must not keep all others from us.
    let mut events = watcher(Api::<DeserializeGuard<K>>::all(client), Config::default())
        .default_backoff()
        .boxed();
    let mut once = Once(Some(listed));
    let set = |object: &DeserializeGuard<K>, gone: bool, world: &mut World| {
        let meta = object.meta();
        let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) else {
            return;
        };
        let rule = object.0.as_ref().ok().filter(|_| !gone);
        if let (Err(error), false) = (&object.0, gone) {
            let kind = K::plural(&());
            warn!(%kind, namespace, name, %error, "An object cannot be read, so it is not in force");
        }
        // What cannot be read is not in force after a listing, so an event does the same at once.
        K::set(rule, namespace, name, world);
        world.tidy(namespace);
    };
    let mut fresh = Vec::new();
    loop {
        match events.next().await {
            Some(Ok(Event::Init)) => fresh.clear(),
            Some(Ok(Event::InitApply(object))) => fresh.push(object),
            Some(Ok(Event::InitDone)) => {
                // All at once: no pod is to be reviewed while nothing is in force.
                cache.with(|world| {
                    K::clear(world);
                    fresh
                        .drain(..)
                        .for_each(|object| set(&object, false, world));
                    world.sweep();
                });
                once.done();
            }
            Some(Ok(Event::Apply(object))) => cache.with(|world| set(&object, false, world)),
            Some(Ok(Event::Delete(object))) => cache.with(|world| set(&object, true, world)),
            Some(Err(error)) => failed(&K::plural(&()), &error, &mut once),
            None => std::future::pending().await,
        }
    }
}

/// What may not be seen, or is not installed, is done without; anything else mends itself.
fn failed(kind: &str, error: &Error, once: &mut Once<'_>) {
    warn!(kind, %error, "A watch failed; admission goes on with what it knew");
    if let Error::InitialListFailed(kube::Error::Api(status)) = error
        && matches!(status.code, 403 | 404)
    {
        once.done();
    }
}

#[cfg(test)]
mod tests;
