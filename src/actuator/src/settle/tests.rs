use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use kube::client::Body;
use mbcas_core::quantity::Quantity;
use serde_json::{Value, json};
use tower_test::mock;

use super::{Progress, Settled, progress, settle, settle_watched};
use crate::fixtures::{container, plain, pod, status};
use crate::plan::{ResizePlan, plan};
use crate::request::{ResizePolicy, ResizeRequest};

const WRITTEN: Option<i64> = Some(4);

fn cpu(amount: &str, policy: ResizePolicy) -> ResizePlan {
    let request = ResizeRequest {
        cpu: Some(Quantity::parse(amount).unwrap()),
        policy,
        ..ResizeRequest::default()
    };
    plan(&plain(), &request, "mbcas").unwrap()
}

fn to_300m() -> ResizePlan {
    cpu("300m", ResizePolicy::Limits)
}

/// The pod after the write: its status observed `generation` and shows `limit`.
fn showing(generation: i64, limit: &str) -> Pod {
    pod(|p| {
        p["status"]["observedGeneration"] = json!(generation);
        p["status"]["containerStatuses"] = json!([status("app", "100m", limit)]);
    })
}

fn with_condition(condition: &Value) -> Pod {
    let mut pod = showing(4, "300m");
    pod.status.as_mut().unwrap().conditions = serde_json::from_value(json!([condition])).unwrap();
    pod
}

fn condition(kind: &str, reason: &str, generation: i64) -> Value {
    json!({ "type": kind, "status": "True", "reason": reason, "message": "why", "observedGeneration": generation })
}

#[test]
fn done_is_what_the_status_shows_and_not_what_the_spec_asks() {
    assert_eq!(
        progress(&showing(4, "300m"), &to_300m(), WRITTEN),
        Progress::Done
    );
    assert_eq!(
        progress(&showing(4, "0.3"), &to_300m(), WRITTEN),
        Progress::Done
    );
    assert_eq!(
        progress(&showing(4, "200m"), &to_300m(), WRITTEN),
        Progress::Pending
    );
    let mut asked = showing(4, "200m");
    asked.spec.as_mut().unwrap().containers =
        serde_json::from_value(json!([container("app", "100m", "300m")])).unwrap();
    assert_eq!(progress(&asked, &to_300m(), WRITTEN), Progress::Pending);
}

#[test]
fn a_status_that_observed_an_older_generation_says_nothing() {
    assert_eq!(
        progress(&showing(3, "300m"), &to_300m(), WRITTEN),
        Progress::Pending
    );
    // A cluster of 1.33 does not tell.
    let untold = pod(|p| {
        p["status"]["observedGeneration"] = Value::Null;
        p["status"]["containerStatuses"] = json!([status("app", "100m", "300m")]);
    });
    assert_eq!(progress(&untold, &to_300m(), WRITTEN), Progress::Done);
    assert_eq!(
        progress(&showing(3, "300m"), &to_300m(), None),
        Progress::Done
    );
}

#[test]
fn conditions_of_the_kubelet_are_told_apart() {
    let judged = |kind, reason| {
        progress(
            &with_condition(&condition(kind, reason, 4)),
            &to_300m(),
            WRITTEN,
        )
    };
    let why = || "why".to_owned();
    assert_eq!(
        judged("PodResizePending", "Deferred"),
        Progress::Deferred(why())
    );
    assert_eq!(
        judged("PodResizePending", "Infeasible"),
        Progress::Infeasible(why())
    );
    assert_eq!(
        judged("PodResizeInProgress", "Error"),
        Progress::Failing(why())
    );
    assert_eq!(judged("PodResizeInProgress", ""), Progress::Pending);
    assert_eq!(
        judged("PodResizePending", "SomethingNew"),
        Progress::Pending
    );
    assert_eq!(judged("Ready", "Infeasible"), Progress::Done);
}

#[test]
fn a_condition_about_an_older_write_or_one_that_is_over_does_not_judge_ours() {
    let old = with_condition(&condition("PodResizePending", "Infeasible", 3));
    assert_eq!(progress(&old, &to_300m(), WRITTEN), Progress::Pending);
    let mut over = condition("PodResizePending", "Infeasible", 4);
    over["status"] = json!("False");
    assert_eq!(
        progress(&with_condition(&over), &to_300m(), WRITTEN),
        Progress::Done
    );
}

#[test]
fn a_pod_that_ended_or_was_replaced_is_gone() {
    for phase in ["Succeeded", "Failed"] {
        let ended = pod(|p| p["status"]["phase"] = json!(phase));
        assert_eq!(progress(&ended, &to_300m(), WRITTEN), Progress::Gone);
    }
    let leaving = pod(|p| p["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    assert_eq!(progress(&leaving, &to_300m(), WRITTEN), Progress::Gone);
    let other = pod(|p| {
        p["metadata"]["uid"] = json!("22bb");
        p["status"]["containerStatuses"] = json!([status("app", "100m", "300m")]);
    });
    assert_eq!(progress(&other, &to_300m(), WRITTEN), Progress::Gone);
}

#[test]
fn cpu_may_differ_by_less_than_a_quantum_and_no_more() {
    // The systemd driver rounds 15m up to 20m.
    let to_315m = cpu("315m", ResizePolicy::Limits);
    assert_eq!(
        progress(&showing(4, "320m"), &to_315m, WRITTEN),
        Progress::Done
    );
    assert_eq!(
        progress(&showing(4, "325m"), &to_315m, WRITTEN),
        Progress::Pending
    );
    assert_eq!(
        progress(&showing(4, "305m"), &to_315m, WRITTEN),
        Progress::Pending
    );
    // A kubelet sets 10m where less is asked, and reads requests below 2m back as 2m.
    let to_1m = cpu("1m", ResizePolicy::Both);
    let least = pod(|p| {
        p["status"]["observedGeneration"] = json!(4);
        p["status"]["containerStatuses"] = json!([status("app", "2m", "10m")]);
    });
    assert_eq!(progress(&least, &to_1m, WRITTEN), Progress::Done);
}

#[test]
fn memory_may_differ_by_less_than_a_byte_and_no_more() {
    let request = ResizeRequest {
        memory: Some(Quantity::parse("200000000500m").unwrap()),
        ..ResizeRequest::default()
    };
    let plan = plan(&plain(), &request, "mbcas").unwrap();
    let shown = |memory: &str| {
        let pod = pod(|p| {
            let mut status = status("app", "100m", "200m");
            status["resources"]["limits"]["memory"] = json!(memory);
            p["status"]["containerStatuses"] = json!([status]);
        });
        progress(&pod, &plan, None)
    };
    assert_eq!(shown("200000001"), Progress::Done);
    assert_eq!(shown("200000002"), Progress::Pending);
}

#[test]
fn both_sides_must_be_shown() {
    let plan = cpu("300m", ResizePolicy::Both);
    assert_eq!(
        progress(&showing(4, "300m"), &plan, WRITTEN),
        Progress::Pending
    );
    let both = pod(|p| p["status"]["containerStatuses"] = json!([status("app", "300m", "300m")]));
    assert_eq!(progress(&both, &plan, None), Progress::Done);
}

#[test]
fn a_sidecar_is_looked_up_among_the_sidecars() {
    let with_sidecar = |limit: &str| {
        pod(|p| {
            let mut mesh = container("mesh", "10m", "20m");
            mesh["restartPolicy"] = json!("Always");
            p["spec"]["initContainers"] = json!([mesh]);
            p["status"]["initContainerStatuses"] = json!([status("mesh", "10m", limit)]);
        })
    };
    let request = ResizeRequest {
        container: Some("mesh".into()),
        cpu: Some(Quantity::parse("50m").unwrap()),
        ..ResizeRequest::default()
    };
    let plan = plan(&with_sidecar("20m"), &request, "mbcas").unwrap();
    assert_eq!(
        progress(&with_sidecar("20m"), &plan, None),
        Progress::Pending
    );
    assert_eq!(progress(&with_sidecar("50m"), &plan, None), Progress::Done);
}

#[test]
fn what_the_spec_had_already_is_waited_for_too() {
    let plan = cpu("200m", ResizePolicy::Limits);
    assert!(plan.changes.is_empty());
    assert_eq!(
        progress(&showing(3, "100m"), &plan, Some(3)),
        Progress::Pending
    );
    assert_eq!(
        progress(&showing(3, "200m"), &plan, Some(3)),
        Progress::Done
    );
}

/// A server that gives these answers one after the other, and the last for ever.
/// Absent: the connection fails. Counts its reads.
fn server(answers: Vec<Option<(u16, Value)>>) -> (Api<Pod>, Arc<AtomicUsize>) {
    let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = reads.clone();
    tokio::spawn(async move {
        while let Some((_, answer)) = handle.next_request().await {
            let turn = counted
                .fetch_add(1, Ordering::SeqCst)
                .min(answers.len() - 1);
            match &answers[turn] {
                Some((code, body)) => {
                    let body = Body::from(serde_json::to_vec(body).unwrap());
                    answer.send_response(Response::builder().status(*code).body(body).unwrap());
                }
                None => answer.send_error("connection refused"),
            }
        }
    });
    (
        Api::namespaced(Client::new(service, "default"), "shop"),
        reads,
    )
}

fn found(pod: &Pod) -> (u16, Value) {
    (200, serde_json::to_value(pod).unwrap())
}

fn missing() -> (u16, Value) {
    let status = json!({ "kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "gone" });
    (404, status)
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_when_the_status_shows_it() {
    let (pods, reads) = server(vec![
        Some(found(&showing(3, "200m"))),
        None,
        Some(found(&showing(4, "200m"))),
        Some(found(&showing(4, "300m"))),
    ]);
    let settled = settle(&pods, &to_300m(), WRITTEN, Duration::from_secs(10)).await;
    assert!(
        matches!(settled, Settled::Done(after) if after >= Duration::from_millis(600)),
        "{settled:?}"
    );
    assert_eq!(reads.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_at_once_where_it_is_hopeless() {
    let infeasible = with_condition(&condition("PodResizePending", "Infeasible", 4));
    let (pods, reads) = server(vec![Some(found(&infeasible))]);
    let settled = settle(&pods, &to_300m(), WRITTEN, Duration::from_secs(10)).await;
    assert_eq!(settled, Settled::Failed(Progress::Infeasible("why".into())));
    assert_eq!(reads.load(Ordering::SeqCst), 1);
    let (pods, _) = server(vec![Some(missing())]);
    let settled = settle(&pods, &to_300m(), WRITTEN, Duration::from_secs(10)).await;
    assert_eq!(settled, Settled::Failed(Progress::Gone));
}

#[tokio::test(start_paused = true)]
async fn time_runs_out_in_the_last_state_that_was_seen() {
    let deferred = with_condition(&condition("PodResizePending", "Deferred", 4));
    let (pods, _) = server(vec![Some(found(&deferred)), None]);
    let started = tokio::time::Instant::now();
    let settled = settle(&pods, &to_300m(), WRITTEN, Duration::from_secs(3)).await;
    assert_eq!(settled, Settled::TimedOut(Progress::Deferred("why".into())));
    assert_eq!(started.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_does_not_hold_us_longer_than_asked() {
    let (service, _handle) = mock::pair::<Request<Body>, Response<Body>>();
    let pods: Api<Pod> = Api::namespaced(Client::new(service, "default"), "shop");
    let settled = settle(&pods, &to_300m(), WRITTEN, Duration::from_secs(3)).await;
    assert_eq!(settled, Settled::TimedOut(Progress::Pending));
}

#[tokio::test(start_paused = true)]
async fn each_new_state_is_told_once() {
    let deferred = with_condition(&condition("PodResizePending", "Deferred", 4));
    let (pods, _) = server(vec![
        Some(found(&showing(4, "200m"))),
        Some(found(&deferred)),
        Some(found(&deferred)),
        Some(found(&showing(4, "300m"))),
    ]);
    let mut told = Vec::new();
    let watch = |progress: &Progress| told.push(progress.clone());
    settle_watched(&pods, &to_300m(), WRITTEN, Duration::from_secs(10), watch).await;
    assert_eq!(told, [Progress::Deferred("why".into()), Progress::Done]);
}
