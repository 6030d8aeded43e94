use serde_json::{Value, json};

use super::{StopError, stop_controller};
use crate::fixtures::{Server, cluster, end, pod};

const SCALE: &str =
    "PATCH /apis/apps/v1/namespaces/mbcas-system/deployments/mbcas-controller/scale";
const PODS: &str = "GET /api/v1/namespaces/mbcas-system/pods";

fn start() -> (tokio::task::JoinHandle<Result<(), StopError>>, Server) {
    let (cluster, server) = cluster();
    (
        tokio::spawn(async move { stop_controller(&cluster.client, "mbcas-system").await }),
        server,
    )
}

fn scaled() -> Value {
    json!({ "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": { "name": "mbcas-controller" }, "spec": {}, "status": { "replicas": 2 } })
}

fn left(count: usize) -> Value {
    let items = vec![pod("mbcas-controller-x", "1m", "2m", None); count];
    json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items })
}

#[tokio::test(start_paused = true)]
async fn the_controller_is_scaled_to_none_and_its_pods_are_waited_for() {
    let (stopping, mut server) = start();
    let asked = server.next().await;
    assert_eq!(asked.what, SCALE);
    assert_eq!(asked.body, json!({ "spec": { "replicas": 0 } }));
    asked.answer(200, &scaled());
    for count in [2, 1] {
        server.expect(PODS, &left(count)).await;
    }
    let asked = server.next().await;
    let labels = "app.kubernetes.io%2Fcomponent%3Dcontroller%2Capp.kubernetes.io%2Fpart-of%3Dmbcas";
    assert!(asked.query.contains(labels), "{}", asked.query);
    asked.answer(200, &left(0));
    end(stopping).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_is_not_there_may_still_have_pods() {
    let (stopping, mut server) = start();
    server.next().await.refuse(
        404,
        "deployments.apps \"mbcas-controller\" not found",
        &json!({}),
    );
    server.expect(PODS, &left(1)).await;
    server.expect(PODS, &left(0)).await;
    end(stopping).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn pods_that_do_not_go_stop_the_restoring_after_a_minute() {
    let (stopping, mut server) = start();
    server.expect(SCALE, &scaled()).await;
    let started = tokio::time::Instant::now();
    let answering = tokio::spawn(async move {
        loop {
            server.expect(PODS, &left(1)).await;
        }
    });
    let error = end(stopping).await.unwrap_err();
    answering.abort();
    assert_eq!(started.elapsed().as_secs(), 60);
    assert!(matches!(error, StopError::Stays { left: 1, .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_the_namespace_and_keeps_the_servers_words() {
    let (stopping, mut server) = start();
    server.next().await.refuse(
        403,
        "cannot patch resource \"deployments/scale\"",
        &json!({}),
    );
    let message = end(stopping).await.unwrap_err().to_string();
    assert!(
        message.contains("mbcas-system") && message.contains("deployments/scale"),
        "{message}"
    );
}
