//! What the views keep of a pod, counted by the allocator: at most 256 bytes, in a list as after it.

#![allow(clippy::unwrap_used)] // a test

use std::alloc::System;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use futures::future::pending;
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use kube::runtime::watcher::Config;
use mbcas_controller::cluster::{Cluster, Sighting};
use mbcas_runtime::ready::Readiness;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::sync::Notify;

#[allow(dead_code)] // the API server of the bench does more with it
#[path = "../benches/apiserver/fleet.rs"]
mod fleet;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What one pod may take, in bytes.
const MOST: usize = 256;

/// What an allocation costs beside its bytes: 8 of glibc's own, and half of the 16 to whose
/// multiple it rounds.
const EACH: usize = 16;

/// What the order of a second list takes for each pod that the first had too, in bytes.
const ORDER: usize = 24;

/// What a page takes while its pods are taken over: 50 of them, 1 kB each.
const PAGE: usize = 50 * 1_024;

/// What is allocated, in bytes.
fn held() -> usize {
    let stats = ALLOCATOR.stats();
    let allocations = stats.allocations - stats.deallocations;
    stats.bytes_allocated - stats.bytes_deallocated + EACH * allocations
}

/// What was held when the first list was read, at most while the second was, and after it.
#[derive(Clone, Copy, Default)]
struct Course {
    watches: usize,
    filled: usize,
    relisting: usize,
    relisted: usize,
}

impl Course {
    /// What the API server answers a request with the query `query`; nothing to a watch that lasts.
    fn answer(&mut self, fleet: &fleet::Fleet, query: &str) -> Option<String> {
        let asked = |key: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(name, _)| *name == key);
            found.and_then(|(_, value)| value.parse::<usize>().ok())
        };
        if query.contains("watch=") {
            self.watches += 1;
            if self.watches == 1 {
                self.filled = held();
                let gone = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","reason":"Expired","code":410}"#;
                return Some(format!("{{\"type\":\"ERROR\",\"object\":{gone}}}\n"));
            }
            self.relisted = held();
            return None;
        }
        if self.watches == 1 {
            self.relisting = self.relisting.max(held());
        }
        // In pages and without a version: so API servers answer from their watch caches, page by page.
        assert!(!query.contains("resourceVersion"), "{query}");
        let from = asked("continue").unwrap_or(0);
        let to = (from + asked("limit").unwrap()).min(fleet.pods());
        let more = if to < fleet.pods() {
            to.to_string()
        } else {
            String::new()
        };
        let pods: Vec<_> = (from..to).map(|number| fleet.pod(number, 1)).collect();
        Some(format!(
            r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"1","continue":"{more}"}},"items":[{}]}}"#,
            pods.join(",")
        ))
    }
}

/// The course of filling the views with `fleet`, and once more after the watch has ended.
async fn course(fleet: fleet::Fleet) -> Course {
    let (fleet, done) = (Arc::new(fleet), Arc::new(Notify::new()));
    let course = Arc::new(Mutex::new(Course::default()));
    let (server, told) = (course.clone(), done.clone());
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = server
            .lock()
            .unwrap()
            .answer(&fleet, request.uri().query().unwrap());
        let told = told.clone();
        async move {
            let Some(text) = answer else {
                told.notify_one();
                return pending().await;
            };
            Ok::<_, Infallible>(Response::new(Body::from(text.into_bytes())))
        }
    });
    let (cluster, readiness) = (Cluster::default(), Readiness::new());
    let client = Client::new(service, "default");
    let handle = readiness.handle("pods");
    let watch = cluster
        .clone()
        .watch::<Sighting>(client, Config::default(), handle);
    tokio::select! {
        _ = watch => unreachable!("a watch has no end"),
        () = done.notified() => {}
    }
    *course.lock().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_pod_takes_256_bytes_at_most() {
    const PODS: usize = 1_500;
    // What is made once, whatever is listed.
    course(fleet::Fleet::new(30)).await;
    let fleet = fleet::Fleet::new(PODS);
    let before = held();
    let course = course(fleet).await;
    let each = [course.filled, course.relisting, course.relisted]
        .map(|held| held.saturating_sub(before) / PODS);
    println!(
        "bytes per pod: {} filled, {} while it is listed again, {} after that",
        each[0], each[1], each[2]
    );
    assert!(each[0] <= MOST && each[2] <= MOST, "{each:?}");
    assert!(each[1] <= MOST + ORDER + PAGE / PODS, "{each:?}");
    // Nothing was missed: uid and node alone are longer than this.
    assert!(each.iter().all(|bytes| *bytes > 64), "{each:?}");
}
