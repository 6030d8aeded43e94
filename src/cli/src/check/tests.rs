use serde_json::{Value, json};

use super::facts::{Standing, Version, pod_facts};
use super::{Row, report, run};
use crate::args::CheckArgs;
use crate::fixtures::{cluster, end, pod, typed};
use crate::output::Format;
use mbcas_api::NotParticipant;

#[test]
fn rows_are_read_from_the_top_with_their_hints_and_a_sum() {
    let rows = [
        Row::ok("this"),
        Row::warn("that", "do it"),
        Row::fail("third", "mend\nit"),
    ];
    let told = report(&rows, Format::Table).unwrap();
    assert!(told.failed);
    assert_eq!(
        told.text,
        "ok    this\nwarn  that\n      do it\nfail  third\n      mend it\n\n1 ok, 1 to know, 1 failed\n"
    );
    assert!(!report(&rows[..2], Format::Table).unwrap().failed);
    let document: Value =
        serde_json::from_str(&report(&rows[..2], Format::Json).unwrap().text).unwrap();
    assert_eq!(
        document,
        json!([{ "level": "ok", "what": "this" }, { "level": "warn", "what": "that", "hint": "do it" }])
    );
}

#[test]
fn versions_of_all_makers_are_read() {
    assert_eq!(Version::parse("v1.33.1+k3s1").number, Some((1, 33)));
    assert_eq!(Version::parse("v1.36.0-eks-abc").number, Some((1, 36)));
    assert_eq!(Version::parse("1.34").number, Some((1, 34)));
    assert_eq!(Version::parse("").number, None);
    assert_eq!(Version::parse("one.two").number, None);
}

#[test]
fn a_pod_stands_where_its_namespace_and_annotations_put_it() {
    let labelled = ["shop".to_owned()].into();
    let standing = |pod: &Value| pod_facts(&typed(pod), &labelled).map(|facts| facts.standing);
    let admitted = pod(
        "a",
        "100m",
        "200m",
        Some(r#"{"version":1,"containers":{"app":{}}}"#),
    );
    assert_eq!(
        standing(&admitted),
        Some(Standing::Participant { has_agent: false })
    );
    let older = pod("a", "100m", "200m", None);
    assert_eq!(
        standing(&older),
        Some(Standing::LeftOut(NotParticipant::NotAdmitted))
    );
    let skipped = |word: &str| Some(Standing::Skipped(word.to_owned()));
    let mut marked = older.clone();
    marked["metadata"]["annotations"] = json!({ "mbcas.dev/injection": "bare_pod" });
    assert_eq!(standing(&marked), skipped("bare_pod"));
    marked["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "x" });
    assert_eq!(standing(&marked), skipped("static_pod"));
    let mut bare = older.clone();
    bare["status"]["qosClass"] = json!("BestEffort");
    assert_eq!(standing(&bare), skipped("best_effort"));
    // A record that somebody took away is a pod to restart.
    marked["metadata"]["annotations"] = json!({ "mbcas.dev/injection": "injected" });
    assert_eq!(
        standing(&marked),
        Some(Standing::LeftOut(NotParticipant::NotAdmitted))
    );
    let mut elsewhere = older.clone();
    elsewhere["metadata"]["namespace"] = json!("till");
    assert_eq!(standing(&elsewhere), None);
    elsewhere["metadata"]["annotations"] = json!({ "mbcas.enabled": "true" });
    assert_eq!(standing(&elsewhere), Some(Standing::Unheard));
    elsewhere["metadata"]["annotations"] = json!({ "mbcas.enabled": "false" });
    assert_eq!(standing(&elsewhere), None);
}

#[tokio::test(start_paused = true)]
async fn before_the_installation_six_questions_are_asked_and_no_more() {
    let (cluster, mut server) = cluster();
    let args = CheckArgs {
        pre: true,
        admission: false,
        metrics_of: None,
        output: Format::Table,
    };
    let checking = tokio::spawn(async move { run(&cluster, &args).await });
    let mut asked = Vec::new();
    for _ in 0..6 {
        let question = server.next().await;
        let answer = match question.what.as_str() {
            "GET /version" => json!({
                "major": "1", "minor": "37", "gitVersion": "v1.37.2", "gitCommit": "", "gitTreeState": "",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
            }),
            "GET /api/v1" => json!({ "groupVersion": "v1", "resources": [
                { "name": "pods/resize", "singularName": "", "namespaced": true, "kind": "Pod", "verbs": ["get", "patch"] },
            ] }),
            "GET /api/v1/nodes" => json!({ "metadata": {}, "items": [{
                "metadata": { "name": "n" },
                "status": {
                    "nodeInfo": {
                        "architecture": "", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "",
                        "kubeProxyVersion": "", "kubeletVersion": "v1.37.2", "machineID": "",
                        "operatingSystem": "linux", "osImage": "", "systemUUID": "",
                    },
                    "conditions": [{ "type": "Ready", "status": "True" }],
                },
            }] }),
            "GET /api/v1/limitranges" | "GET /api/v1/resourcequotas" => {
                json!({ "metadata": {}, "items": [] })
            }
            _ => {
                assert_eq!(
                    question.body["spec"]["resourceAttributes"],
                    json!({ "verb": "patch", "resource": "pods", "subresource": "resize" })
                );
                json!({ "metadata": {}, "spec": {}, "status": { "allowed": true } })
            }
        };
        asked.push(question.what.clone());
        question.answer(200, &answer);
    }
    let report = end(checking).await.unwrap();
    assert!(!report.failed);
    assert!(
        report.text.ends_with("5 ok, 0 to know, 0 failed\n"),
        "{}",
        report.text
    );
    asked.sort();
    let review = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(
        asked,
        [
            "GET /api/v1",
            "GET /api/v1/limitranges",
            "GET /api/v1/nodes",
            "GET /api/v1/resourcequotas",
            "GET /version",
            review
        ]
    );
}
