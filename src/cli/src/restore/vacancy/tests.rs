use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::args::{Cli, Command};
use crate::fixtures::{Server, cluster, end, pod};
use crate::output::Report;
use crate::restore::{RestoreError, run};

const LEASE: &str =
    "GET /apis/coordination.k8s.io/v1/namespaces/mbcas-system/leases/mbcas-controller";
const EVENTS: &str = "POST /apis/events.k8s.io/v1/namespaces/mbcas-system/events";
const PODS: &str = "GET /api/v1/pods";
const BEFORE: &str = r#"{"version":1,"containers":{"app":{"request":"100m","limit":"200m"}}}"#;

type Ran = tokio::task::JoinHandle<Result<Report, RestoreError>>;

fn start() -> (Ran, Server) {
    let (cluster, server) = cluster();
    let line = "mbcas restore --all --unled-for 10m --controller-namespace mbcas-system";
    let words: Vec<_> = line.split_whitespace().map(Into::into).collect();
    let Command::Restore(args) = Cli::try_from_words(&words).unwrap().command else {
        panic!("{line}");
    };
    let ran = tokio::spawn(async move { run(&cluster, &args).await });
    (ran, server)
}

/// The Lease as it was written so many seconds ago, for the `version`th time.
fn lease(seconds: u64, version: u64) -> Value {
    let renewed = Timestamp::now() - Duration::from_secs(seconds);
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "mbcas-controller", "namespace": "mbcas-system", "resourceVersion": version.to_string()},
        "spec": {"holderIdentity": "mbcas-controller-a_1", "renewTime": format!("{renewed:.6}")},
    })
}

fn resized(name: &str) -> Value {
    pod(name, "100m", "900m", Some(BEFORE))
}

/// Answers to everything as long as something is asked: the Lease as `lease` says, and `pods` pods
/// that are resized as they are told. Gives what else was asked.
async fn serve(mut server: Server, pods: usize, mut lease: impl FnMut() -> Value) -> Vec<String> {
    let names: Vec<_> = (0..pods).map(|number| format!("p{number}")).collect();
    let mut restored = std::collections::BTreeSet::new();
    let mut others = Vec::new();
    while let Some(asked) = server.next_if_any().await {
        let name = asked.what.split('/').nth(6).unwrap_or_default().to_owned();
        if asked.what == LEASE {
            match lease() {
                Value::Null => asked.refuse(404, "there is none", &Value::Null),
                lease => asked.answer(200, &lease),
            }
            continue;
        }
        let body = if asked.what == PODS {
            let items: Vec<_> = names.iter().map(|name| resized(name)).collect();
            json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items})
        } else if asked.what == EVENTS {
            others.push(asked.body["note"].as_str().unwrap().to_owned());
            asked.body.clone()
        } else {
            if asked.what.starts_with("PATCH") {
                tokio::time::sleep(Duration::from_millis(100)).await;
                restored.insert(name.clone());
                others.push(asked.what.clone());
            }
            let limit = if restored.contains(&name) {
                "200m"
            } else {
                "900m"
            };
            pod(&name, "100m", limit, Some(BEFORE))
        };
        asked.answer(200, &body);
    }
    others
}

#[tokio::test(start_paused = true)]
async fn while_somebody_leads_nothing_is_restored() {
    let (ran, server) = start();
    let asked = tokio::spawn(serve(server, 1, || lease(3, 1)));
    let report = end(ran).await.unwrap();
    assert!(
        report.text.starts_with("mbcas-controller-a_1 led "),
        "{}",
        report.text
    );
    assert!(!report.failed);
    assert!(asked.await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_clock_is_wrong_is_seen_at_its_writes() {
    let (ran, server) = start();
    let mut version = 0;
    let asked = tokio::spawn(serve(server, 1, move || {
        version += 1;
        lease(7_200, version / 4)
    }));
    let report = end(ran).await.unwrap();
    assert!(
        report.text.contains("nothing is restored"),
        "{}",
        report.text
    );
    assert!(asked.await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn when_nobody_leads_originals_return_and_an_event_says_so() {
    let (ran, server) = start();
    let asked = tokio::spawn(serve(server, 2, || lease(720, 1)));
    let report = end(ran).await.unwrap();
    assert!(!report.failed, "{}", report.text);
    assert_eq!(
        report.text.matches("restored").count(),
        2,
        "{}",
        report.text
    );
    let asked = asked.await.unwrap();
    assert_eq!(asked.len(), 3, "{asked:?}");
    let note = "led 720 s ago: containers that were given their original CPU resources back: 2";
    assert!(asked[2].contains(note), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_makes_is_as_good_as_stale() {
    let (ran, server) = start();
    let asked = tokio::spawn(serve(server, 1, || Value::Null));
    let report = end(ran).await.unwrap();
    assert!(report.text.contains("restored"), "{}", report.text);
    assert_eq!(asked.await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn it_ends_where_somebody_leads_again() {
    let (ran, server) = start();
    let mut looks = 0;
    // The watch before looks eleven times; one look later somebody leads.
    let asked = tokio::spawn(serve(server, 400, move || {
        looks += 1;
        lease(720, if looks > 12 { 2 } else { 1 })
    }));
    let report = end(ran).await.unwrap();
    let left = report.text.matches("somebody leads again").count();
    assert!(report.failed && left > 0 && left < 400, "{left}");
    assert!(asked.await.unwrap().len() >= 400 - left);
}
