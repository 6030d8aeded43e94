use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use futures::StreamExt;
use http_body_util::BodyExt;
use prometheus::{Registry, TextEncoder};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::review::Outline;
use crate::routes::INJECT;
use crate::routes::Judge;

fn app() -> (Router, Registry) {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    let router = crate::routes::router(&Judge::alone(crate::admit::tests::policy()), metrics);
    (router, registry)
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
    Request::post(INJECT)
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}

async fn ask(app: Router, request: Request<Body>) -> (StatusCode, String) {
    let answer = app.oneshot(request).await.unwrap();
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
        text.contains(r#"mbcas_admission_requests_total{decision="inject",path="/inject",reason="injected"} 1"#),
        "{text}"
    );
    assert!(
        text.contains(r#"mbcas_admission_duration_seconds_count{path="/inject"} 1"#),
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
    assert!(text(&registry).contains(r#"{decision="deny",path="/inject",reason="malformed"} 1"#));
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
    assert!(
        text(&registry)
            .contains(r#"{decision="skip",path="/inject",reason="not_a_pod_creation"} 1"#)
    );
}

#[tokio::test]
async fn bad_bodies_are_http_errors() {
    let post = |kind: Option<&str>, body: Vec<u8>| {
        let request = Request::post(INJECT);
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
            post(json, good()[..200].to_vec()),
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

/// A body of which no more than `start` ever arrives.
fn stalled(start: &str) -> Body {
    let start = Ok::<_, io::Error>(Bytes::copy_from_slice(start.as_bytes()));
    Body::from_stream(futures::stream::iter([start]).chain(futures::stream::pending()))
}

#[tokio::test(start_paused = true)]
async fn huge_endless_and_broken_bodies_are_cut_off() {
    let huge = Request::post(INJECT).header("content-type", "application/json");
    let huge = huge
        .header("content-length", LONGEST_BODY + 1)
        .body(stalled(""))
        .unwrap();
    assert_eq!(ask(app().0, huge).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(
        ask(app().0, request(endless())).await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let (app, registry) = app();
    let broken = Body::from_stream(futures::stream::iter([
        Ok(Bytes::from_static(b"{")),
        Err(io::Error::other("reset")),
    ]));
    assert_eq!(ask(app, request(broken)).await.0, StatusCode::BAD_REQUEST);
    assert!(text(&registry).contains(r#"reason="broken"} 1"#));
}

#[tokio::test(start_paused = true)]
async fn a_stalled_body_is_waited_for_for_a_second_and_not_longer_than_the_caller_waits() {
    for (query, milliseconds) in [("", 1_000), ("?timeout=1s", 875), ("?timeout=30s", 1_000)] {
        let stalled = Request::post(format!("{INJECT}{query}"))
            .header("content-type", "application/json")
            .body(stalled("{"))
            .unwrap();
        let start = tokio::time::Instant::now();
        assert_eq!(ask(app().0, stalled).await.0, StatusCode::REQUEST_TIMEOUT);
        // A tick more: timers have whole milliseconds.
        let late = start.elapsed().as_millis() - milliseconds;
        assert!(late <= 1, "{query}: {late} ms late");
    }
}

/// A body of which a window comes with each pause, so many times, and then nothing.
fn windows(pause: u64, times: usize) -> Body {
    let windows = futures::stream::iter(0..times).then(move |_| async move {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        Ok::<_, io::Error>(Bytes::from(vec![b' '; 64 * 1024]))
    });
    Body::from_stream(windows.chain(futures::stream::pending()))
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_on_has_the_time_that_the_caller_gives_it_and_one_that_stalls_has_a_second()
 {
    let cases = [
        // Windows, the pause before each, and for how long the body is waited for.
        (LONGEST_BODY / 65_536, 100, 8_750),
        (16, 100, 2_600),
        (16, 240, 4_840),
        (1_000, 400, 1_000),
        (3, 1, 1_000),
    ];
    for (times, pause, milliseconds) in cases {
        let body = windows(pause, times);
        let post = Request::post(format!("{INJECT}?timeout=30s"));
        let post = post.header("content-type", "application/json").body(body);
        let start = tokio::time::Instant::now();
        let status = ask(app().0, post.unwrap()).await.0;
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT, "{times} {pause}");
        let late = start.elapsed().as_millis().abs_diff(milliseconds);
        assert!(late <= times as u128, "{times} × {pause} ms: {late} ms off");
    }
}

#[tokio::test(start_paused = true)]
async fn a_review_as_long_as_they_get_arrives_over_a_long_way() {
    let mut pod = crate::admit::tests::pod();
    let missing = LONGEST_BODY - review(&pod).len() - 1_000;
    pod["metadata"]["managedFields"] = json!([" ".repeat(missing)]);
    let body = Bytes::from(review(&pod));
    // Twenty milliseconds there and back, and a window each time.
    let windows: Vec<_> = (0..body.len().div_ceil(65_536))
        .map(|at| body.slice(at * 65_536..body.len().min((at + 1) * 65_536)))
        .collect();
    let windows = futures::stream::iter(windows).then(|window| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok::<_, io::Error>(window)
    });
    let post = Request::post(format!("{INJECT}?timeout=10s"));
    let post = post.header("content-type", "application/json");
    let post = post.body(Body::from_stream(windows)).unwrap();
    let (status, body) = ask(app().0, post).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(response(&body)["patchType"], "JSONPatch");
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_long_in_coming_take_no_room_and_a_burst_has_some() {
    let (router, registry) = app();
    let mut waiting: Vec<_> = (0..6_000)
        .map(|_| Box::pin(router.clone().oneshot(request(stalled("{")))))
        .collect();
    for request in &mut waiting {
        assert!(futures::poll!(request).is_pending());
    }
    let good = || request(review(&crate::admit::tests::pod()));
    assert_eq!(ask(router.clone(), good()).await.0, StatusCode::OK);
    assert!(!text(&registry).contains("overloaded"));
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_room_the_caller_hears_so_at_once_and_it_comes_back() {
    let (router, _) = app();
    let large = " ".repeat(body::LARGE);
    let mut waiting: Vec<_> = (0..body::MOST_BYTES / body::LARGE)
        .map(|_| Box::pin(router.clone().oneshot(request(stalled(&large)))))
        .collect();
    for request in &mut waiting {
        assert!(futures::poll!(request).is_pending());
    }
    let good = || request(review(&crate::admit::tests::pod()));
    let full = ask(router.clone(), good()).await;
    assert_eq!(full.0, StatusCode::SERVICE_UNAVAILABLE, "{}", full.1);
    drop(waiting);
    assert_eq!(ask(router, good()).await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn large_bodies_are_few_and_leave_the_others_their_room() {
    let (router, _) = app();
    let large = " ".repeat(body::LARGE + 1);
    let mut waiting: Vec<_> = (0..body::MOST_LARGE)
        .map(|_| Box::pin(router.clone().oneshot(request(stalled(&large)))))
        .collect();
    for request in &mut waiting {
        assert!(futures::poll!(request).is_pending());
    }
    let mut pod = crate::admit::tests::pod();
    let good = ask(router.clone(), request(review(&pod))).await;
    assert_eq!(good.0, StatusCode::OK);
    pod["metadata"]["labels"] = json!({ "large": large });
    let another = || request(review(&pod));
    assert_eq!(
        ask(router.clone(), another()).await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    drop(waiting);
    let (status, body) = ask(router, another()).await;
    assert_eq!(
        (status, &response(&body)["allowed"]),
        (StatusCode::OK, &json!(true))
    );
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_next_request_is_served() {
    let registry = Registry::new();
    let router = Routes::new(Metrics::register(&registry).unwrap())
        .at("/boom", |review: &Review<Outline>| {
            assert!(review.name != "boom", "as the test wants it");
            Ok(Answer::allow("skip", "opted_out"))
        })
        .into_router();
    let post = |pod: &Value| {
        let post = Request::post("/boom").header("content-type", "application/json");
        post.body(Body::from(review(pod))).unwrap()
    };
    let mut pod = crate::admit::tests::pod();
    for padding in [1, body::LARGE] {
        pod["metadata"]["name"] = json!("boom");
        pod["metadata"]["labels"] = json!({ "padding": " ".repeat(padding) });
        let (status, _) = ask(router.clone(), post(&pod)).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        pod["metadata"]["name"] = json!("fine");
        assert_eq!(ask(router.clone(), post(&pod)).await.0, StatusCode::OK);
    }
    assert!(text(&registry).contains(r#"{decision="error",path="/boom",reason="panic"} 2"#));
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let get = Request::get(INJECT).body(Body::empty()).unwrap();
    assert_eq!(ask(app().0, get).await.0, StatusCode::METHOD_NOT_ALLOWED);
    let other = Request::post("/").body(Body::empty()).unwrap();
    assert_eq!(ask(app().0, other).await.0, StatusCode::NOT_FOUND);
}
