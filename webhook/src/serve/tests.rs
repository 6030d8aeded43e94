use std::io;

use axum::body::Bytes;
use axum::http::Request;
use futures::StreamExt;
use http_body_util::BodyExt;
use prometheus::{Registry, TextEncoder};
use serde_json::json;
use tower::ServiceExt;

use super::*;

fn metrics() -> (Metrics, Registry) {
    let registry = Registry::new();
    (Metrics::register(&registry).unwrap(), registry)
}

fn app() -> (App, Registry) {
    let (metrics, registry) = metrics();
    (App::new(crate::admit::tests::policy(), metrics), registry)
}

fn review(object: &Value) -> Vec<u8> {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
                    "operation": "CREATE", "namespace": "shop", "object": object},
    })
    .to_string()
    .into_bytes()
}

fn request(body: impl Into<Body>) -> Request<Body> {
    Request::post(PATH)
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}

async fn ask(app: App, request: Request<Body>) -> (StatusCode, String) {
    let answer = router(Arc::new(app)).oneshot(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn response(body: &str) -> Value {
    let review: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&review["apiVersion"], &review["kind"]),
        (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
    );
    assert_eq!(review["response"]["uid"], "u-1");
    review["response"].clone()
}

fn text(registry: &Registry) -> String {
    TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap()
}

#[tokio::test]
async fn a_pod_is_injected_and_counted() {
    let (app, registry) = app();
    let pod = crate::admit::tests::pod();
    let (status, body) = ask(app, request(review(&pod))).await;
    assert_eq!(status, StatusCode::OK);
    let response = response(&body);
    assert_eq!(response["allowed"], true);
    assert_eq!(response["patchType"], "JSONPatch");
    let patch: k8s_openapi::ByteString = serde_json::from_value(response["patch"].clone()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch.0).unwrap();
    let mut patched = pod;
    json_patch::patch(&mut patched, &patch).unwrap();
    assert_eq!(
        patched["spec"]["initContainers"][0]["name"],
        "mbcas-demand-agent"
    );
    let text = text(&registry);
    assert!(
        text.contains(r#"mbcas_admission_requests_total{decision="inject",reason="injected"} 1"#),
        "{text}"
    );
    assert!(
        text.contains("mbcas_admission_duration_seconds_count 1"),
        "{text}"
    );
}

#[tokio::test]
async fn a_malformed_budget_is_refused_with_its_message() {
    let (app, registry) = app();
    let mut pod = crate::admit::tests::pod();
    pod["metadata"]["annotations"]["mbcas.budget"] = json!("lots");
    let (status, body) = ask(app, request(review(&pod))).await;
    assert_eq!(status, StatusCode::OK);
    let response = response(&body);
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["code"], 422);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(
        message.starts_with(r#"annotation mbcas.budget="lots" is refused"#),
        "{message}"
    );
    assert!(text(&registry).contains(r#"{decision="deny",reason="malformed"} 1"#));
}

#[tokio::test]
async fn what_is_not_ours_is_let_through_untouched() {
    let (app, registry) = app();
    let body = String::from_utf8(review(&crate::admit::tests::pod()))
        .unwrap()
        .replace("CREATE", "UPDATE");
    let (status, body) = ask(app, request(body)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(response(&body), json!({"uid": "u-1", "allowed": true}));
    assert!(text(&registry).contains(r#"{decision="skip",reason="not_a_pod_creation"} 1"#));
}

#[tokio::test]
async fn bad_bodies_are_http_errors() {
    let post = |kind: Option<&str>, body: Vec<u8>| {
        let request = Request::post(PATH);
        let request = kind.into_iter().fold(request, |request, kind| {
            request.header("content-type", kind)
        });
        request.body(Body::from(body)).unwrap()
    };
    let good = || review(&crate::admit::tests::pod());
    let json = Some("application/json");
    let cases = [
        (
            post(json, Vec::new()),
            StatusCode::BAD_REQUEST,
            "bad_request",
        ),
        (
            post(json, b"{".to_vec()),
            StatusCode::BAD_REQUEST,
            "bad_request",
        ),
        (
            post(json, b"{}".to_vec()),
            StatusCode::BAD_REQUEST,
            "bad_request",
        ),
        (
            post(json, review(&json!("pod"))),
            StatusCode::BAD_REQUEST,
            "bad_request",
        ),
        (
            post(json, vec![b'['; 200_000]),
            StatusCode::BAD_REQUEST,
            "bad_request",
        ),
        (
            post(None, good()),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_type",
        ),
        (
            post(Some("text/plain"), good()),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_type",
        ),
        (
            post(Some("application/json; charset=utf-8"), good()),
            StatusCode::OK,
            "injected",
        ),
    ];
    for (request, expected, word) in cases {
        let (app, registry) = app();
        let (status, body) = ask(app, request).await;
        assert_eq!(status, expected, "{body}");
        assert!(text(&registry).contains(word), "{word}");
        assert!(
            expected == StatusCode::OK || !body.contains("uid\":\"\""),
            "{body}"
        );
    }
}

/// A body that declares no length and goes on for ever.
fn endless() -> Body {
    let chunk = Bytes::from(vec![b' '; 65_536]);
    Body::from_stream(futures::stream::repeat(chunk).map(Ok::<_, io::Error>))
}

/// A body of which nothing ever arrives.
fn stalled() -> Body {
    Body::from_stream(futures::stream::pending::<Result<Bytes, io::Error>>())
}

#[tokio::test(start_paused = true)]
async fn huge_endless_and_stalled_bodies_are_cut_off() {
    let huge = Request::post(PATH).header("content-type", "application/json");
    let huge = huge
        .header("content-length", LONGEST_BODY + 1)
        .body(stalled())
        .unwrap();
    assert_eq!(ask(app().0, huge).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(
        ask(app().0, request(endless())).await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let start = tokio::time::Instant::now();
    assert_eq!(
        ask(app().0, request(stalled())).await.0,
        StatusCode::REQUEST_TIMEOUT
    );
    assert_eq!(start.elapsed(), READ_TIME);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_limit_the_caller_hears_so_at_once_and_the_permits_come_back() {
    let (app, _) = app();
    let router = router(Arc::new(app));
    let mut waiting: Vec<_> = (0..MOST_AT_ONCE)
        .map(|_| Box::pin(router.clone().oneshot(request(stalled()))))
        .collect();
    for request in &mut waiting {
        assert!(futures::poll!(request).is_pending());
    }
    let good = || request(review(&crate::admit::tests::pod()));
    assert_eq!(
        router.clone().oneshot(good()).await.unwrap().status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    drop(waiting);
    assert_eq!(
        router.oneshot(good()).await.unwrap().status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_next_request_is_served() {
    let (metrics, _) = metrics();
    let judge: Judge = |pod, policy, namespace| {
        assert!(pod["metadata"]["name"] != "boom", "as the test wants it");
        admit(pod, policy, namespace)
    };
    let app = App {
        judge,
        ..App::new(crate::admit::tests::policy(), metrics)
    };
    let router = router(Arc::new(app));
    let mut pod = crate::admit::tests::pod();
    for _ in 0..=MOST_AT_ONCE {
        pod["metadata"]["name"] = json!("boom");
        let answer = router.clone().oneshot(request(review(&pod))).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
    pod["metadata"]["name"] = json!("fine");
    assert_eq!(
        router
            .oneshot(request(review(&pod)))
            .await
            .unwrap()
            .status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let get = Request::get(PATH).body(Body::empty()).unwrap();
    assert_eq!(ask(app().0, get).await.0, StatusCode::METHOD_NOT_ALLOWED);
    let other = Request::post("/").body(Body::empty()).unwrap();
    assert_eq!(ask(app().0, other).await.0, StatusCode::NOT_FOUND);
}
