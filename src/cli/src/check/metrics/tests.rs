use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use serde_json::{Value, json};

use super::*;
use crate::fixtures::{Server, cluster, end};
use crate::output::Level;

const WEBHOOK: &str = "mbcas_admission_connections 0\nmbcas_webhook_cert_not_after_seconds{kind=\"leaf\"} 1800000000\n";
const CONTROLLER: &str = "mbcas_leader 0\nmbcas_resize_supported 1\n";

/// A pod's end: answers one request, and gives its port.
fn serve(status: &'static str, body: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 1024];
        let read = stream.read(&mut asked).unwrap();
        assert!(asked[..read].starts_with(b"GET /metrics HTTP/1.1\r\n"));
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
    });
    port
}

/// One where nobody listens.
fn closed() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn pod(component: &str, name: &str, port: u16) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app.kubernetes.io/component": component}},
        "spec": {"containers": [{"name": component, "ports": [
            {"name": "https", "containerPort": 9443}, {"name": "admin", "containerPort": port}]}]},
        "status": {"phase": "Running", "podIP": "127.0.0.1"},
    })
}

async fn list(server: &mut Server, pods: &[Value]) {
    let asked = server.next().await;
    assert_eq!(asked.what, "GET /api/v1/namespaces/mbcas-system/pods");
    assert!(asked.query.contains("part-of%3Dmbcas"), "{}", asked.query);
    let list = json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods});
    asked.answer(200, &list);
}

async fn rows(pods: &[Value]) -> Vec<Row> {
    let (cluster, mut server) = cluster();
    let command = tokio::spawn(async move { metrics(&cluster.client, "mbcas-system").await });
    list(&mut server, pods).await;
    end(command).await
}

#[tokio::test]
async fn every_pod_that_runs_is_read() {
    let mut starting = pod("webhook", "starting", closed());
    starting["status"] = json!({"phase": "Pending"});
    let mut going = pod("webhook", "going", closed());
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let other = pod("restore", "other", closed());
    let rows = rows(&[
        pod("webhook", "one", serve("200 OK", WEBHOOK)),
        pod("webhook", "two", serve("200 OK", WEBHOOK)),
        starting,
        going,
        other,
        pod("controller", "three", serve("200 OK", CONTROLLER)),
    ])
    .await;
    let said: Vec<_> = rows
        .iter()
        .map(|row| (row.level, row.what.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            (Level::Ok, "the webhook's metrics can be read (replicas: 2)"),
            (
                Level::Ok,
                "the controller's metrics can be read (replicas: 1)"
            ),
        ]
    );
}

#[tokio::test]
async fn a_pod_that_cannot_be_read_is_named_with_what_to_look_at() {
    let away = closed();
    let rows = rows(&[
        pod("webhook", "good", serve("200 OK", WEBHOOK)),
        pod("webhook", "away", away),
        pod("webhook", "broken", serve("503 Service Unavailable", "")),
        pod("webhook", "another", serve("200 OK", CONTROLLER)),
        pod("controller", "well", serve("200 OK", CONTROLLER)),
    ])
    .await;
    let all: Vec<_> = rows.iter().map(|row| row.level).collect();
    assert_eq!(all, [Level::Fail, Level::Fail, Level::Fail, Level::Ok]);
    let start = format!("away: its metrics cannot be read at 127.0.0.1:{away}: cannot connect");
    assert!(rows[0].what.starts_with(&start), "{:?}", rows[0]);
    assert!(
        rows[0].hint.contains("networkPolicy.metricsFrom"),
        "{:?}",
        rows[0]
    );
    assert!(
        rows[1].what.contains("status 503") && !rows[1].hint.contains("NetworkPolicy"),
        "{:?}",
        rows[1]
    );
    assert!(
        rows[2].what.ends_with("lack mbcas_admission_connections"),
        "{:?}",
        rows[2]
    );
}

#[tokio::test]
async fn no_webhook_is_a_failure_and_no_controller_may_be_meant() {
    let rows = rows(&[]).await;
    let levels: Vec<_> = rows.iter().map(|row| row.level).collect();
    assert_eq!(levels, [Level::Fail, Level::Warn]);
    assert!(
        rows[0].hint.contains("Deployment mbcas-webhook"),
        "{:?}",
        rows[0]
    );
}

#[tokio::test]
async fn pods_that_may_not_be_listed_are_said_so() {
    let (cluster, mut server) = cluster();
    let command = tokio::spawn(async move { metrics(&cluster.client, "mbcas-system").await });
    server
        .next()
        .await
        .refuse(403, "pods is forbidden: no", &json!({}));
    let rows = end(command).await;
    assert_eq!((rows.len(), rows[0].level), (1, Level::Fail));
    assert_eq!(rows[0].hint, "pods is forbidden: no");
}
