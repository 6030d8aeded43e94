use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::stream;
use mbcas_runtime::ready::Readiness;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;

/// An API server that has nothing at first, and shows of one kind what is sent to the result.
fn cluster(shown: &'static str) -> (Client, UnboundedSender<Value>) {
    let (sender, events) = unbounded::<Value>();
    let events = Arc::new(std::sync::Mutex::new(Some(events)));
    let answer = move |request: Request<kube::client::Body>| {
        // Of pods, of which there are many and large ones, nothing comes but their metadata.
        let accepts = request.headers().get("accept");
        let accepts = accepts.map_or("", |accepts| accepts.to_str().unwrap());
        let is_metadata = accepts.contains("as=PartialObjectMetadata");
        assert_eq!(
            request.uri().path().ends_with("/pods"),
            is_metadata,
            "{accepts}"
        );
        let is_watch = request.uri().query().unwrap_or_default().contains("watch=");
        let shown = request.uri().path().ends_with(shown);
        let body = if !is_watch {
            Body::from(json!({"metadata": {"resourceVersion": "1"}, "items": []}).to_string())
        } else if let Some(events) = events.lock().unwrap().take_if(|_| shown) {
            let lines = events.map(|event| Ok::<_, Infallible>(Bytes::from(format!("{event}\n"))));
            Body::from_stream(lines)
        } else {
            Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())
        };
        std::future::ready(Ok::<_, Infallible>(Response::new(body)))
    };
    (Client::new(tower::service_fn(answer), "default"), sender)
}

fn policy(kind: &str, total: &Value) -> Value {
    json!({"type": kind, "object": {
        "apiVersion": "mbcas.dev/v1alpha1", "kind": "BudgetPolicy",
        "metadata": {"name": "default", "namespace": "shop", "resourceVersion": "2"},
        "spec": {"budget": {"total": total}},
    }})
}

/// Waits until the total in force in the namespace is `expected`.
async fn comes_to(cache: &Cache, expected: Option<u64>) {
    let total = || {
        cache
            .namespace("shop", Instant::now())
            .rules
            .policy
            .budget
            .total
    };
    let seen = async {
        while total() != expected {
            tokio::task::yield_now().await;
        }
    };
    let seen = timeout(Duration::from_secs(5), seen).await;
    assert!(seen.is_ok(), "{:?}, not {expected:?}", total());
}

#[tokio::test]
async fn what_cannot_be_read_is_out_of_force_at_once_as_it_is_after_a_listing() {
    let cache = Arc::new(Cache::default());
    let (client, show) = cluster("/budgetpolicies");
    let ready = Readiness::new().handle("caches");
    let watching = tokio::spawn(watch(client, Arc::clone(&cache), ready));
    for (kind, broken, after) in [
        ("MODIFIED", json!("lots"), None),
        ("DELETED", json!("lots"), None),
        ("DELETED", json!(7), None),
        ("MODIFIED", json!(8), Some(8)),
    ] {
        show.unbounded_send(policy("ADDED", &json!(7))).unwrap();
        comes_to(&cache, Some(7)).await;
        show.unbounded_send(policy(kind, &broken)).unwrap();
        comes_to(&cache, after).await;
    }
    watching.abort();
}
