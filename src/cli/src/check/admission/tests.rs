use serde_json::{Value, json};

use crate::args::CheckArgs;
use crate::check::run;
use crate::fixtures::{Server, cluster, end};
use crate::output::Format;

const DENIED: &str =
    "admission webhook \"inject.mbcas.dev\" denied the request: mbcas.budget is \"lots\"";
const BY_POLICY: &str = "pods \"mbcas-check\" is forbidden: ValidatingAdmissionPolicy 'mbcas-annotations' with binding \
                         'mbcas-annotations' denied request: mbcas.budget";

fn status(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": "Forbidden", "code": code})
}

fn injected(mut pod: Value) -> Value {
    pod["spec"]["initContainers"] = json!([{"name": "mbcas-demand-agent"}]);
    pod
}

/// Answers one attempt: the malformed pod first.
async fn answer(server: &mut Server, bad: Option<Value>, good: impl FnOnce(Value) -> Value) {
    let asked = server.next().await;
    assert_eq!(asked.what, "POST /api/v1/namespaces/try/pods");
    assert!(asked.query.contains("dryRun=All"), "{}", asked.query);
    assert_eq!(
        asked.body["metadata"]["annotations"]["mbcas.budget"],
        "lots"
    );
    let pod = asked.body.clone();
    match bad {
        Some(refusal) => asked.answer(403, &refusal),
        None => asked.answer(201, &pod),
    }
    let asked = server.next().await;
    assert_eq!(asked.body["metadata"]["annotations"]["mbcas.budget"], "100");
    let pod = good(asked.body.clone());
    let code = if pod["kind"] == "Status" { 403 } else { 201 };
    asked.answer(code, &pod);
}

/// What the command says when every attempt is answered like this.
async fn told(attempts: u32, bad: Option<&str>, good: fn(Value) -> Value) -> (bool, String) {
    let (mut cluster, mut server) = cluster();
    cluster.named = Some("try".to_owned());
    let args = CheckArgs {
        pre: false,
        admission: true,
        metrics_of: None,
        output: Format::Table,
    };
    let command = tokio::spawn(async move { run(&cluster, &args).await });
    for _ in 0..attempts {
        answer(&mut server, bad.map(|message| status(403, message)), good).await;
    }
    let report = end(command).await.unwrap();
    (report.failed, report.text)
}

#[tokio::test(start_paused = true)]
async fn both_pods_answered_as_they_should_is_all_it_takes() {
    let (failed, text) = told(1, Some(DENIED), injected).await;
    assert!(!failed, "{text}");
    assert!(
        text.contains("mbcas.budget is \"lots\"") && text.ends_with("2 ok, 0 to know, 0 failed\n"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_refuses_does_not_stand_in_for_the_webhook() {
    let (failed, text) = told(30, Some(BY_POLICY), |pod| pod).await;
    assert!(
        failed && text.contains("by the policy alone") && text.contains("gets no demand agent"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_who_refuses_is_told_with_what_to_look_at() {
    let (failed, text) = told(30, None, |mut pod| {
        pod["metadata"]["annotations"]["mbcas.dev/injection"] = json!("bare_pod");
        pod
    })
    .await;
    assert!(
        failed && text.contains("is let into namespace try") && text.contains("says bare_pod"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_says_itself_is_passed_on() {
    let (failed, text) = told(30, Some("pods is forbidden: no"), |_| {
        status(403, "pods is forbidden: no")
    })
    .await;
    assert!(
        failed && text.matches("pods is forbidden: no").count() == 2,
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_has_not_heard_of_it_yet_is_asked_again() {
    let (mut cluster, mut server) = cluster();
    cluster.named = Some("try".to_owned());
    let args = CheckArgs {
        pre: false,
        admission: true,
        metrics_of: None,
        output: Format::Table,
    };
    let command = tokio::spawn(async move { run(&cluster, &args).await });
    answer(&mut server, None, |pod| pod).await;
    answer(&mut server, Some(status(403, DENIED)), |pod| pod).await;
    answer(&mut server, Some(status(403, DENIED)), injected).await;
    assert!(!end(command).await.unwrap().failed);
}
