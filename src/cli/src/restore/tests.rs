use serde_json::{Value, json};

use super::{RestoreError, run};
use crate::args::{Cli, Command, RestoreArgs};
use crate::fixtures::{Server, cluster, contested_by, end, pod};
use crate::output::Report;

const BEFORE: &str = r#"{"version":1,"containers":{"app":{"request":"100m","limit":"200m"}}}"#;
const WITHOUT_LIMIT: &str = r#"{"version":1,"containers":{"app":{"request":"100m"}}}"#;
const ALL: &str = "GET /api/v1/pods";

fn args(line: &str) -> RestoreArgs {
    let words: Vec<_> = format!("mbcas restore {line}")
        .split_whitespace()
        .map(Into::into)
        .collect();
    match Cli::try_from_words(&words).unwrap().command {
        Command::Restore(args) => args,
        other => panic!("{other:?}"),
    }
}

fn start(
    line: &str,
) -> (
    tokio::task::JoinHandle<Result<Report, RestoreError>>,
    Server,
) {
    let (cluster, server) = cluster();
    let args = args(line);
    (
        tokio::spawn(async move { run(&cluster, &args).await }),
        server,
    )
}

fn list(pods: &[Value]) -> Value {
    json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods })
}

fn read(name: &str) -> String {
    format!("GET /api/v1/namespaces/shop/pods/{name}")
}

fn write(name: &str) -> String {
    format!("PATCH /api/v1/namespaces/shop/pods/{name}/resize")
}

fn resized(name: &str) -> Value {
    pod(name, "100m", "900m", Some(BEFORE))
}

fn restored(name: &str) -> Value {
    pod(name, "100m", "200m", Some(BEFORE))
}

#[tokio::test(start_paused = true)]
async fn pods_of_all_namespaces_get_their_limits_back_in_the_controllers_name() {
    let (command, mut server) = start("--all");
    let mut ended = resized("ended");
    ended["status"]["phase"] = json!("Succeeded");
    let stranger = pod("stranger", "100m", "900m", None);
    server
        .expect(
            ALL,
            &list(&[stranger, resized("web"), ended, restored("fine")]),
        )
        .await;
    server.expect(&read("web"), &resized("web")).await;
    let asked = server.next().await;
    assert_eq!(asked.what, write("web"));
    assert!(
        asked.query.contains("fieldManager=mbcas") && !asked.query.contains("dryRun"),
        "{}",
        asked.query
    );
    assert!(!asked.query.contains("mbcas-cli"), "{}", asked.query);
    let sent = json!([{ "name": "app", "resources": { "limits": { "cpu": "200m" } } }]);
    assert_eq!(asked.body["spec"]["containers"], sent);
    assert_eq!(asked.body["metadata"]["uid"], "11aa");
    asked.answer(200, &restored("web"));
    server.expect(&read("web"), &restored("web")).await;
    let report = end(command).await.unwrap();
    assert!(!report.failed);
    let expected = "      OUTCOME     POD         CONTAINER   DETAIL\n\
                    ok    restored    shop/web    app         limits.cpu 900m → 200m\n\
                    ok    as before   shop/fine\n";
    assert_eq!(report.text, expected);
}

#[tokio::test(start_paused = true)]
async fn when_the_time_is_over_no_pod_is_begun_with_and_the_command_fails() {
    let (command, mut server) = start("--all --within 60s");
    let asked = server.next().await;
    tokio::time::advance(std::time::Duration::from_mins(1)).await;
    asked.answer(200, &list(&[resized("web"), resized("other")]));
    let report = end(command).await.unwrap();
    assert!(report.failed);
    let lines: Vec<_> = report.text.lines().skip(1).collect();
    assert_eq!(lines.len(), 2, "{}", report.text);
    for line in lines {
        assert!(line.starts_with("fail  not reached"), "{line}");
        assert!(
            line.contains("mbcas restore --all goes on with it"),
            "{line}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn lists_that_come_in_pages_are_read_to_the_end() {
    let (command, mut server) = start("--all");
    let mut first = list(&[restored("a")]);
    first["metadata"] = json!({ "continue": "more" });
    server.expect(ALL, &first).await;
    let asked = server.next().await;
    assert!(asked.query.contains("continue=more"), "{}", asked.query);
    asked.answer(200, &list(&[restored("b")]));
    let report = end(command).await.unwrap();
    assert!(
        report.text.contains("shop/a") && report.text.contains("shop/b"),
        "{}",
        report.text
    );
}

#[tokio::test(start_paused = true)]
async fn the_node_is_asked_only_for_pods_that_had_no_limit() {
    let (command, mut server) = start("--all --dry-run -o json");
    let free = pod("free", "100m", "900m", Some(WITHOUT_LIMIT));
    server.expect(ALL, &list(std::slice::from_ref(&free))).await;
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "node-1" }, "status": { "allocatable": { "cpu": "1500m" } } });
    server.expect("GET /api/v1/nodes/node-1", &node).await;
    server.expect(&read("free"), &free).await;
    let asked = server.next().await;
    assert!(asked.query.contains("dryRun=All"), "{}", asked.query);
    assert_eq!(
        asked.body["spec"]["containers"][0]["resources"]["limits"]["cpu"],
        "1500m"
    );
    asked.answer(200, &free);
    let rows: Value = serde_json::from_str(&end(command).await.unwrap().text).unwrap();
    assert_eq!(rows[0]["outcome"], "would-restore");
    assert!(
        rows[0]["detail"].as_str().unwrap().contains("had no limit"),
        "{rows}"
    );
}

#[tokio::test(start_paused = true)]
async fn one_bad_record_fails_its_row_and_the_command_and_nothing_else() {
    let (command, mut server) = start("--all");
    let bad = pod("bad", "100m", "900m", Some("{"));
    server.expect(ALL, &list(&[bad, restored("fine")])).await;
    let report = end(command).await.unwrap();
    assert!(report.failed);
    let lines: Vec<&str> = report.text.lines().collect();
    assert!(
        lines[1].starts_with("fail  failed      shop/bad"),
        "{}",
        report.text
    );
    assert!(
        lines[1].contains("mbcas.dev/original is not readable"),
        "{}",
        report.text
    );
    assert!(
        lines[2].starts_with("ok    as before   shop/fine"),
        "{}",
        report.text
    );
}

#[tokio::test(start_paused = true)]
async fn a_bad_record_is_named_and_does_not_keep_a_release() {
    let (command, mut server) = start("--all --tolerate-failures");
    let bad = pod("bad", "100m", "900m", Some("{"));
    server.expect(ALL, &list(&[bad])).await;
    let report = end(command).await.unwrap();
    assert!(
        !report.failed && report.text.contains("shop/bad"),
        "{}",
        report.text
    );
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_resized_is_left_alone() {
    for (line, failed) in [("--all", false), ("web", true)] {
        let (command, mut server) = start(line);
        if failed {
            server.expect(&read("web"), &resized("web")).await;
        } else {
            server.expect(ALL, &list(&[resized("web")])).await;
        }
        server.expect(&read("web"), &resized("web")).await;
        let (message, details) = contested_by("mbcas-cli");
        server.next().await.refuse(409, &message, &details);
        server.expect(&read("web"), &resized("web")).await;
        let report = end(command).await.unwrap();
        assert_eq!(report.failed, failed, "{line}");
        assert!(
            report.text.contains("left alone") && report.text.contains("mbcas-cli"),
            "{}",
            report.text
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_asked_three_times_and_not_more() {
    let (command, mut server) = start("--all");
    server.expect(ALL, &list(&[resized("web")])).await;
    for _ in 0..3 {
        server.expect(&read("web"), &resized("web")).await;
        server
            .next()
            .await
            .refuse(429, "too many requests", &json!({ "retryAfterSeconds": 2 }));
    }
    let report = end(command).await.unwrap();
    assert!(
        report.failed && report.text.contains("busy"),
        "{}",
        report.text
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_went_away_needs_nothing() {
    let (command, mut server) = start("--all");
    server.expect(ALL, &list(&[resized("web")])).await;
    server.next().await.refuse(
        404,
        "pods \"web\" not found",
        &json!({ "name": "web", "kind": "pods" }),
    );
    let report = end(command).await.unwrap();
    assert!(
        !report.failed && report.text.contains("gone"),
        "{}",
        report.text
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_status_does_not_show_in_time_is_unconfirmed() {
    let (command, mut server) = start("--all");
    server.expect(ALL, &list(&[resized("web")])).await;
    server.expect(&read("web"), &resized("web")).await;
    server.expect(&write("web"), &resized("web")).await;
    let answering = tokio::spawn(async move {
        loop {
            server.expect(&read("web"), &resized("web")).await;
        }
    });
    let report = end(command).await.unwrap();
    answering.abort();
    assert!(
        !report.failed && report.text.starts_with("      OUTCOME"),
        "{}",
        report.text
    );
    assert!(
        report.text.contains("warn  unconfirmed   shop/web"),
        "{}",
        report.text
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_by_name_must_exist_and_have_been_admitted() {
    let (command, mut server) = start("web");
    server
        .expect(&read("web"), &pod("web", "100m", "200m", None))
        .await;
    assert!(matches!(end(command).await, Err(RestoreError::NotAdmitted(p)) if p == "shop/web"));
    let (command, mut server) = start("web");
    server.next().await.refuse(
        404,
        "pods \"web\" not found",
        &json!({ "name": "web", "kind": "pods" }),
    );
    assert!(matches!(end(command).await, Err(RestoreError::NoSuchPod(p)) if p == "shop/web"));
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_cannot_be_stopped_keeps_everything_as_it_is() {
    let (command, mut server) =
        start("--all --stop-controller --controller-namespace mbcas-system");
    server.next().await.refuse(403, "no", &json!({}));
    assert!(matches!(end(command).await, Err(RestoreError::Stop(_))));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_stops_no_controller() {
    let (command, mut server) =
        start("--all --dry-run --stop-controller --controller-namespace mbcas-system");
    server.expect(ALL, &list(&[])).await;
    let report = end(command).await.unwrap();
    assert_eq!(
        report.text,
        "No pod carries original resources: nothing to restore.\n"
    );
    assert!(!report.failed);
}
