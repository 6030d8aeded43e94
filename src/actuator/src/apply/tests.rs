//! Conversations with an API server, in the words that a real one (1.37) used.

use std::time::Duration;

use http::{Method, Request, Response};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::Api;
use kube::client::Body;
use mbcas_core::quantity::Quantity;
use serde_json::{Value, json};
use tower_test::mock::{self, Handle, SendResponse};

use super::{Applied, resize};
use crate::answer::ApplyError;
use crate::fixtures::{owner, plain, pod};
use crate::plan::ResizePlan;
use crate::request::ResizeRequest;

mod storms;

type Server = Handle<Request<Body>, Response<Body>>;
type Answer = Result<(ResizePlan, Option<Applied>), ApplyError>;

fn request() -> ResizeRequest {
    ResizeRequest {
        cpu: Some(Quantity::parse("300m").unwrap()),
        ..ResizeRequest::default()
    }
}

/// One resize of `shop/web-0` in the name of `mbcas`, and the server that it talks to.
fn start(request: ResizeRequest, dry_run: bool) -> (tokio::task::JoinHandle<Answer>, Server) {
    let (service, server) = mock::pair::<Request<Body>, Response<Body>>();
    let pods: Api<Pod> = Api::namespaced(Client::new(service, "default"), "shop");
    let resizing =
        tokio::spawn(async move { resize(&pods, "web-0", &request, "mbcas", dry_run).await });
    (resizing, server)
}

/// How it ended. One that waits for ever (for an answer that no test gives) is a failure.
async fn end(resizing: tokio::task::JoinHandle<Answer>) -> Answer {
    let ended = tokio::time::timeout(Duration::from_hours(1), resizing);
    ended.await.expect("the resize waits for ever").unwrap()
}

async fn next(server: &mut Server) -> (Request<Body>, SendResponse<Response<Body>>) {
    tokio::time::timeout(Duration::from_mins(1), server.next_request())
        .await
        .expect("the server waits for a request that does not come")
        .expect("the client is gone")
}

fn send(to: SendResponse<Response<Body>>, code: u16, body: &Value) {
    let body = Body::from(serde_json::to_vec(body).unwrap());
    to.send_response(Response::builder().status(code).body(body).unwrap());
}

/// Answers the read that comes next.
async fn read(server: &mut Server, pod: &Pod) {
    let (request, answer) = next(server).await;
    assert_eq!(request.method(), Method::GET);
    assert_eq!(request.uri().path(), "/api/v1/namespaces/shop/pods/web-0");
    send(answer, 200, &serde_json::to_value(pod).unwrap());
}

/// Takes the write that comes next: its query, its body, and the way to answer it.
async fn written(server: &mut Server) -> (String, Value, SendResponse<Response<Body>>) {
    let (request, answer) = next(server).await;
    assert_eq!(request.method(), Method::PATCH);
    assert_eq!(
        request.uri().path(),
        "/api/v1/namespaces/shop/pods/web-0/resize"
    );
    assert_eq!(
        request.headers()["content-type"],
        "application/apply-patch+yaml"
    );
    let query = request.uri().query().unwrap_or_default().to_owned();
    let body = request.into_body().collect_bytes().await.unwrap();
    (query, serde_json::from_slice(&body).unwrap(), answer)
}

fn failure(code: u16, message: &str, details: &Value) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "message": message, "reason": "Whatever", "details": details,
    })
}

fn stale() -> Value {
    let message = "Operation cannot be fulfilled on pods \"web-0\": the object has been modified; \
                   please apply your changes to the latest version and try again";
    failure(409, message, &json!({ "name": "web-0", "kind": "pods" }))
}

fn contested(manager: &str) -> Value {
    let conflict = format!("conflict with \"{manager}\" with subresource \"resize\"");
    let field = ".spec.containers[name=\"app\"].resources.limits.cpu";
    let cause = json!({ "reason": "FieldManagerConflict", "message": conflict, "field": field });
    failure(
        409,
        &format!("Apply failed with 1 conflict: {conflict}: {field}"),
        &json!({ "causes": [cause] }),
    )
}

fn of_version(version: &str) -> Pod {
    pod(|p| p["metadata"]["resourceVersion"] = json!(version))
}

fn of_uid(uid: &str) -> Pod {
    pod(|p| p["metadata"]["uid"] = json!(uid))
}

/// The error after one read and one write that is answered so.
async fn refused_with(code: u16, body: Value) -> ApplyError {
    let (resizing, mut server) = start(request(), false);
    read(&mut server, &plain()).await;
    let (_, _, answer) = written(&mut server).await;
    send(answer, code, &body);
    end(resizing).await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn one_read_one_apply_and_the_new_generation_is_known() {
    let (resizing, mut server) = start(request(), false);
    read(&mut server, &plain()).await;
    let (query, body, answer) = written(&mut server).await;
    let mut query: Vec<&str> = query.split('&').filter(|part| !part.is_empty()).collect();
    query.sort_unstable();
    assert_eq!(query, ["fieldManager=mbcas", "force=true"]);
    assert_eq!(body["metadata"]["uid"], "11aa");
    assert_eq!(body["metadata"]["resourceVersion"], "70");
    assert_eq!(
        body["spec"],
        json!({ "containers": [{ "name": "app", "resources": { "limits": { "cpu": "300m" } } }] })
    );
    let after = pod(|p| p["metadata"]["generation"] = json!(4));
    send(answer, 200, &serde_json::to_value(&after).unwrap());
    let (plan, applied) = end(resizing).await.unwrap();
    assert_eq!(plan.changes.len(), 1);
    assert_eq!(applied.unwrap().generation, Some(4));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_so_to_the_server() {
    let (resizing, mut server) = start(request(), true);
    read(&mut server, &plain()).await;
    let (query, _, answer) = written(&mut server).await;
    assert!(query.contains("dryRun=All"), "{query}");
    send(answer, 200, &serde_json::to_value(plain()).unwrap());
    assert!(end(resizing).await.unwrap().1.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_right_already_is_not_sent() {
    let (resizing, mut server) = start(request(), false);
    let right = pod(|p| p["spec"]["containers"][0]["resources"]["limits"]["cpu"] = json!("0.3"));
    read(&mut server, &right).await;
    let (plan, applied) = end(resizing).await.unwrap();
    assert!(plan.changes.is_empty() && applied.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stale_write_is_read_and_planned_anew() {
    let (resizing, mut server) = start(request(), false);
    read(&mut server, &of_version("70")).await;
    let (_, body, answer) = written(&mut server).await;
    assert_eq!(body["metadata"]["resourceVersion"], "70");
    send(answer, 409, &stale());
    read(&mut server, &of_version("71")).await;
    let (_, body, answer) = written(&mut server).await;
    assert_eq!(body["metadata"]["resourceVersion"], "71");
    send(answer, 200, &serde_json::to_value(plain()).unwrap());
    assert!(end(resizing).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_changes_for_ever_is_given_up_after_five_writes() {
    let (resizing, mut server) = start(request(), false);
    for version in ["1", "2", "3", "4", "5"] {
        read(&mut server, &of_version(version)).await;
        let (_, _, answer) = written(&mut server).await;
        send(answer, 409, &stale());
    }
    assert!(matches!(end(resizing).await, Err(ApplyError::Stale(p)) if p == "shop/web-0"));
}

#[tokio::test(start_paused = true)]
async fn a_replacement_found_after_a_conflict_is_left_alone() {
    let (resizing, mut server) = start(request(), false);
    read(&mut server, &of_uid("11aa")).await;
    let (_, _, answer) = written(&mut server).await;
    send(answer, 409, &stale());
    read(&mut server, &of_uid("22bb")).await;
    assert!(matches!(end(resizing).await, Err(ApplyError::Gone(_))));
}

#[tokio::test(start_paused = true)]
async fn an_incarnation_that_was_not_meant_is_never_written_to() {
    let meant = ResizeRequest {
        uid: Some("11aa".into()),
        ..request()
    };
    let (resizing, mut server) = start(meant, false);
    read(&mut server, &of_uid("22bb")).await;
    let error = end(resizing).await.unwrap_err();
    assert!(matches!(
        error,
        ApplyError::Refused(crate::Refusal::Replaced(_))
    ));
}

fn owned_by_vpa(version: &str) -> Pod {
    pod(|p| {
        p["metadata"]["resourceVersion"] = json!(version);
        p["metadata"]["managedFields"] =
            json!([owner("vpa", "Update", Some("resize"), &["limits.cpu"])]);
    })
}

#[tokio::test(start_paused = true)]
async fn another_resizer_is_not_forced_past_and_is_named() {
    let (resizing, mut server) = start(request(), false);
    read(&mut server, &owned_by_vpa("70")).await;
    let (query, _, answer) = written(&mut server).await;
    assert!(!query.contains("force"), "{query}");
    send(answer, 409, &contested("vpa"));
    // Nothing has changed since: it is contested indeed.
    read(&mut server, &owned_by_vpa("70")).await;
    let error = end(resizing).await.unwrap_err();
    assert!(
        matches!(&error, ApplyError::Contested { message, .. } if message.contains("\"vpa\"")),
        "{error}"
    );
    assert_eq!(error.outcome(), "contested");
}

#[tokio::test(start_paused = true)]
async fn a_contest_that_ended_meanwhile_was_only_stale() {
    let (resizing, mut server) = start(request(), false);
    read(&mut server, &owned_by_vpa("70")).await;
    let (_, _, answer) = written(&mut server).await;
    send(answer, 409, &contested("vpa"));
    read(&mut server, &of_version("71")).await;
    let (query, _, answer) = written(&mut server).await;
    assert!(query.contains("force=true"), "{query}");
    send(answer, 200, &serde_json::to_value(plain()).unwrap());
    assert!(end(resizing).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_replacement_looks_contested_until_it_is_read_again() {
    let (resizing, mut server) = start(request(), false);
    read(&mut server, &owned_by_vpa("70")).await;
    let (_, _, answer) = written(&mut server).await;
    send(answer, 409, &contested("kubectl-client-side-apply"));
    read(&mut server, &of_uid("22bb")).await;
    assert!(matches!(end(resizing).await, Err(ApplyError::Gone(_))));
}

#[tokio::test(start_paused = true)]
async fn a_uid_that_is_immutable_is_a_replacement() {
    let message =
        "Pod \"web-0\" is invalid: metadata.uid: Invalid value: \"11aa\": field is immutable";
    let error = refused_with(
        422,
        failure(422, message, &json!({ "name": "web-0", "kind": "Pod" })),
    )
    .await;
    assert!(matches!(error, ApplyError::Gone(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_is_invalid_keeps_the_servers_words() {
    let message = "Pod \"web-0\" is invalid: spec: Invalid value: \"Burstable\": Pod QOS Class may not change";
    let error = refused_with(
        422,
        failure(422, message, &json!({ "name": "web-0", "kind": "Pod" })),
    )
    .await;
    assert!(
        matches!(&error, ApplyError::Invalid { message, .. } if message.contains("QOS")),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_too_small_is_infeasible_and_a_policy_is_forbidden() {
    let message = "pods \"web-0\" is forbidden: node didn't have enough allocatable resources: cpu";
    let with_cause =
        |cause: &str| json!({ "name": "web-0", "kind": "pods", "causes": [{ "reason": cause }] });
    for cause in ["NodeCapacity", "UnsupportedPlatform"] {
        let error = refused_with(403, failure(403, message, &with_cause(cause))).await;
        assert!(matches!(error, ApplyError::Infeasible { .. }), "{error}");
    }
    let quota = "pods \"web-0\" is forbidden: exceeded quota";
    let error = refused_with(
        403,
        failure(403, quota, &json!({ "name": "web-0", "kind": "pods" })),
    )
    .await;
    assert!(matches!(error, ApplyError::Forbidden { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_pod_and_a_missing_subresource_are_told_apart() {
    let gone = failure(
        404,
        "pods \"web-0\" not found",
        &json!({ "name": "web-0", "kind": "pods" }),
    );
    assert!(matches!(refused_with(404, gone).await, ApplyError::Gone(_)));
    let unserved = failure(
        404,
        "the server could not find the requested resource",
        &json!({}),
    );
    assert!(matches!(
        refused_with(404, unserved).await,
        ApplyError::Unsupported
    ));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_be_read_is_no_pod_to_resize() {
    let (resizing, mut server) = start(request(), false);
    let (_, answer) = next(&mut server).await;
    let gone = failure(
        404,
        "pods \"web-0\" not found",
        &json!({ "name": "web-0", "kind": "pods" }),
    );
    send(answer, 404, &gone);
    assert!(matches!(end(resizing).await, Err(ApplyError::Gone(p)) if p == "shop/web-0"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_none_of_these_is_a_failure() {
    let error = refused_with(
        500,
        failure(500, "etcdserver: request timed out", &json!({})),
    )
    .await;
    assert!(matches!(error, ApplyError::Failed { .. }), "{error}");
    let (resizing, mut server) = start(request(), false);
    let (_, answer) = next(&mut server).await;
    answer.send_error("connection refused");
    assert!(matches!(
        end(resizing).await,
        Err(ApplyError::Failed { .. })
    ));
}
