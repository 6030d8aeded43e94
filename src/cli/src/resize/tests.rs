use serde_json::{Value, json};

use super::{ResizeError, run};
use crate::args::{Cli, Command, ResizeArgs};
use crate::fixtures::{Server, cluster, contested_by, end, pod};
use crate::output::Report;

const READ: &str = "GET /api/v1/namespaces/shop/pods/web";
const WRITE: &str = "PATCH /api/v1/namespaces/shop/pods/web/resize";

fn args(line: &str) -> ResizeArgs {
    let words: Vec<_> = format!("mbcas resize web {line}")
        .split_whitespace()
        .map(Into::into)
        .collect();
    match Cli::try_from_words(&words).unwrap().command {
        Command::Resize(args) => args,
        other => panic!("{other:?}"),
    }
}

/// The command at work, and the server that it talks to.
fn start(line: &str) -> (tokio::task::JoinHandle<Result<Report, ResizeError>>, Server) {
    let (cluster, server) = cluster();
    let args = args(line);
    (
        tokio::spawn(async move { run(&cluster, &args).await }),
        server,
    )
}

fn web() -> Value {
    pod("web", "100m", "200m", None)
}

/// The pod after the write, with this limit in its status.
fn after(shown: &str) -> Value {
    let mut pod = pod("web", "100m", "300m", None);
    pod["metadata"]["generation"] = json!(4);
    pod["status"]["observedGeneration"] = json!(4);
    pod["status"]["containerStatuses"][0]["resources"]["limits"]["cpu"] = json!(shown);
    pod
}

#[tokio::test(start_paused = true)]
async fn an_accepted_resize_says_that_it_is_only_accepted_and_how_to_wait() {
    let (command, mut server) = start("--cpu 300m");
    server.expect(READ, &web()).await;
    let write = server.next().await;
    assert_eq!(write.what, WRITE);
    assert!(
        write.query.contains("fieldManager=mbcas-cli"),
        "{}",
        write.query
    );
    write.answer(200, &after("200m"));
    let report = end(command).await.unwrap();
    assert!(!report.failed);
    let mut lines = report.text.lines();
    assert_eq!(
        lines.next(),
        Some("POD        CONTAINER   FIELD        FROM   TO")
    );
    assert_eq!(
        lines.next(),
        Some("shop/web   app         limits.cpu   200m   300m")
    );
    assert!(
        report.text.contains("Accepted") && report.text.contains("--wait"),
        "{}",
        report.text
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_looks_at_the_status_and_not_at_the_spec() {
    let (command, mut server) = start("--cpu 300m --wait");
    server.expect(READ, &web()).await;
    server.expect(WRITE, &after("200m")).await;
    server.expect(READ, &after("200m")).await;
    server.expect(READ, &after("300m")).await;
    let report = end(command).await.unwrap();
    assert!(
        !report.failed && report.text.contains("Done: the pod's status shows it"),
        "{}",
        report.text
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_in_vain_fails_and_says_in_which_state() {
    let (command, mut server) = start("--cpu 300m --wait --timeout 1s -o json");
    server.expect(READ, &web()).await;
    server.expect(WRITE, &after("200m")).await;
    let mut deferred = after("200m");
    deferred["status"]["conditions"] = json!([{ "type": "PodResizePending", "status": "True", "reason": "Deferred", "message": "no room" }]);
    let answering = tokio::spawn(async move {
        loop {
            server.expect(READ, &deferred).await;
        }
    });
    let report = end(command).await.unwrap();
    answering.abort();
    let document: Value = serde_json::from_str(&report.text).unwrap();
    assert!(report.failed);
    assert_eq!(document["outcome"], "not-done");
    assert!(
        document["message"]
            .as_str()
            .unwrap()
            .contains("deferred, the node has no room now: no room"),
        "{document}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_right_already_is_waited_for_and_not_written() {
    let (command, mut server) = start("--cpu 200m --wait");
    server.expect(READ, &web()).await;
    let mut behind = web();
    behind["status"]["containerStatuses"][0]["resources"]["limits"]["cpu"] = json!("100m");
    server.expect(READ, &behind).await;
    server.expect(READ, &web()).await;
    assert!(end(command).await.unwrap().text.starts_with("Done"));
    let (command, mut server) = start("--cpu 200m");
    server.expect(READ, &web()).await;
    assert!(
        end(command)
            .await
            .unwrap()
            .text
            .starts_with("Nothing to change")
    );
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_shows_change_patch_and_the_servers_consent() {
    let (command, mut server) = start("--cpu 2 --dry-run");
    server.expect(READ, &web()).await;
    server.expect(READ, &web()).await;
    let write = server.next().await;
    assert!(write.query.contains("dryRun=All"), "{}", write.query);
    let sent = write.body.clone();
    write.answer(200, &after("200m"));
    let report = end(command).await.unwrap();
    assert!(!report.failed);
    assert!(
        report.text.contains("limits.cpu   200m   2\n"),
        "{}",
        report.text
    );
    assert!(report.text.contains("would accept"), "{}", report.text);
    // The patch that is shown is the patch that was sent, amounts quoted.
    let yaml = report.text.split("\n# ").nth(1).unwrap();
    assert!(yaml.contains("        cpu: \"2\"\n"), "{yaml}");
    assert_eq!(
        sent["spec"]["containers"][0]["resources"]["limits"]["cpu"],
        "2"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_shows_the_plan_even_where_the_server_refuses() {
    let (command, mut server) = start("--cpu 64 --policy both --dry-run -o json");
    server.expect(READ, &web()).await;
    server.expect(READ, &web()).await;
    let details =
        json!({ "name": "web", "kind": "pods", "causes": [{ "reason": "NodeCapacity" }] });
    server.next().await.refuse(
        403,
        "node didn't have enough allocatable resources",
        &details,
    );
    let report = end(command).await.unwrap();
    assert!(report.failed);
    let document: Value = serde_json::from_str(&report.text).unwrap();
    assert_eq!(document["outcome"], "would-refuse");
    assert!(
        document["message"]
            .as_str()
            .unwrap()
            .contains("allocatable")
    );
    assert_eq!(document["patch"]["metadata"]["uid"], "11aa");
    let change = json!({ "field": "requests.cpu", "from": "100m", "to": "64" });
    assert_eq!(document["changes"][0], change);
}

/// What is said when the field is owned by `manager`.
async fn contested(manager: &str) -> String {
    let (command, mut server) = start("--cpu 300m");
    server.expect(READ, &web()).await;
    let (message, details) = contested_by(manager);
    server.next().await.refuse(409, &message, &details);
    server.expect(READ, &web()).await;
    end(command).await.unwrap_err().to_string()
}

#[tokio::test(start_paused = true)]
async fn a_field_of_the_controller_is_named_as_such_and_force_with_it() {
    let message = contested("mbcas").await;
    assert!(
        message.contains("the MBCAS controller") && message.contains("--force"),
        "{message}"
    );
    let message = contested("vpa-updater").await;
    assert!(!message.contains("the MBCAS controller"), "{message}");
    assert!(
        message.contains("vpa-updater") && message.contains("--force"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn force_is_passed_on() {
    let mut owned = web();
    owned["metadata"]["managedFields"] = json!([{
        "manager": "mbcas", "operation": "Apply", "subresource": "resize", "fieldsType": "FieldsV1",
        "fieldsV1": { "f:spec": { "f:containers": { "k:{\"name\":\"app\"}": { "f:resources": { "f:limits": { "f:cpu": {} } } } } } },
    }]);
    for (line, forced) in [("--cpu 300m", false), ("--cpu 300m --force", true)] {
        let (command, mut server) = start(line);
        server.expect(READ, &owned).await;
        let write = server.next().await;
        assert_eq!(
            write.query.contains("force=true"),
            forced,
            "{line}: {}",
            write.query
        );
        write.answer(200, &after("300m"));
        end(command).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_of_our_own_never_reach_the_server() {
    let (command, mut server) = start("--cpu 50m");
    server.expect(READ, &web()).await;
    let message = end(command).await.unwrap_err().to_string();
    assert!(
        message.contains("below the request 100m") && message.contains("policy both"),
        "{message}"
    );
}

/// A pod whose requests and limits are equal.
fn guaranteed() -> Value {
    let mut pod = pod("web", "200m", "200m", None);
    let equal = json!({"cpu": "200m", "memory": "64Mi"});
    let resources = json!({"requests": equal, "limits": equal});
    pod["spec"]["containers"][0]["resources"] = resources;
    pod["status"]["qosClass"] = json!("Guaranteed");
    pod
}

#[tokio::test(start_paused = true)]
async fn a_guaranteed_pod_is_moved_on_both_sides_whatever_the_policy_says() {
    let (command, mut server) = start("--cpu 300m");
    server.expect(READ, &guaranteed()).await;
    let write = server.next().await;
    write.answer(200, &guaranteed());
    let report = end(command).await.unwrap();
    for field in ["requests.cpu", "limits.cpu"] {
        assert!(report.text.contains(field), "{}", report.text);
    }
}

#[tokio::test(start_paused = true)]
async fn memory_is_lowered_only_if_the_command_says_so() {
    let (command, mut server) = start("--memory 32Mi --policy both");
    server.expect(READ, &guaranteed()).await;
    let message = end(command).await.unwrap_err().to_string();
    assert!(
        message.contains("would fall from 64Mi to 32Mi"),
        "{message}"
    );
    assert!(message.contains("--allow-memory-decrease"), "{message}");
    let (command, mut server) = start("--memory 32Mi --policy both --allow-memory-decrease");
    server.expect(READ, &guaranteed()).await;
    let write = server.next().await;
    write.answer(200, &guaranteed());
    assert!(end(command).await.unwrap().text.contains("limits.memory"));
}
