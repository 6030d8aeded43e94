//! What cannot be meant is refused at the door, in words that help; with the
//! webhook gone, by the API server itself.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::support::space::dry_run;
use crate::support::{Admission, Lab, Space, on_cluster};

/// Key, value, and a word of the webhook's answer that helps its reader.
const MALFORMED: [(&str, &str, &str); 26] = [
    ("mbcas.budget", "lots", "for example \"300\""),
    ("mbcas.budget", "0", "from 1 to 1000000"),
    ("mbcas.budget", "-5", "from 1 to 1000000"),
    ("mbcas.budget", "1.5", "from 1 to 1000000"),
    ("mbcas.budget", "1000001", "from 1 to 1000000"),
    ("mbcas.budget", "", "from 1 to 1000000"),
    ("mbcas.enabled", "yes", "\"true\" or \"false\""),
    ("mbcas.enabled", "True", "\"true\" or \"false\""),
    ("mbcas.minCPU", "half", "for example \"250m\""),
    ("mbcas.minCPU", "1m", "from 10m to 10k"),
    ("mbcas.maxCPU", "1 core", "for example \"1500m\""),
    ("mbcas.maxCPU", "11k", "from 10m to 10k"),
    ("mbcas.maxCPU", "40m", "request of 50m"),
    ("mbcas.container", "sidecar", "its containers are app"),
    ("mbcas.mode", "automatic", "observe, recommend or auto"),
    ("mbcas.agent", "yes", "sidecar or none"),
    (
        "mbcas.metrics",
        "http://example.com/metrics#q",
        "http://localhost:PORT/PATH#METRIC",
    ),
    ("mbcas.metrics", "http://localhost:99999/#q", "65535"),
    (
        "mbcas.metrics",
        "http://localhost:80/#in_flight=q",
        "&workers=N",
    ),
    (
        "mbcas.metrics",
        "http://localhost:80/#queue=q&latency=/l",
        "one answer is read",
    ),
    (
        "mbcas.metrics",
        "http://localhost:80/#latency=l",
        "add mbcas.slo",
    ),
    ("mbcas.slo", "61s", "from 1ms to 60s"),
    ("mbcas.slo", "250ms", "names no latency"),
    ("mbcas.processes", "host", "own or shared"),
    ("mbcas.budgte", "300", "did you mean mbcas.budget?"),
    ("mbcas.colour", "red", "known keys are"),
];

/// What must still be let through, or everything above shows nothing.
const WELL_FORMED: [(&str, &str); 10] = [
    ("mbcas.budget", "300"),
    ("mbcas.minCPU", "0.02"),
    ("mbcas.maxCPU", "1500m"),
    ("mbcas.container", "app"),
    ("mbcas.mode", "observe"),
    ("mbcas.agent", "none"),
    (
        "mbcas.metrics",
        "http://localhost:8081/metrics#lab_queue_depth",
    ),
    ("mbcas.metrics", "http://localhost:8081/stats#/jobs/waiting"),
    (
        "mbcas.metrics",
        "http://localhost:8081/stats#in_flight=/jobs&workers=4",
    ),
    ("mbcas.processes", "shared"),
];

fn lab() -> Lab {
    Lab::serve("web", &[]).request("50m")
}

/// The API server's words when it is asked to create `lab`; nothing is created.
async fn refusal(space: &Space, pod: &Pod) -> Option<String> {
    match space.pods().create(&dry_run(), pod).await {
        Ok(_) => None,
        Err(kube::Error::Api(status)) => Some(status.message),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_webhook_refuses_malformed_annotations_in_words_that_help() {
    on_cluster("refusal", Admission::Labelled, async |space| {
        for (key, value, help) in MALFORMED {
            let answer = refusal(space, &lab().annotate(key, value).pod()).await;
            let answer = answer.unwrap_or_else(|| panic!("{key}={value:?} was let through"));
            assert!(
                answer.contains("admission webhook \"inject.mbcas.dev\" denied the request"),
                "{answer}"
            );
            assert!(
                answer.contains(key) && answer.contains(help),
                "{key}={value:?}: {answer}"
            );
            if (key, value) == ("mbcas.budget", "lots") {
                figure!("refused: {answer}");
            }
        }
        for (key, value) in WELL_FORMED {
            let answer = refusal(space, &lab().annotate(key, value).pod()).await;
            assert_eq!(answer, None, "{key}={value:?}");
        }
        let crossed = lab()
            .annotate("mbcas.minCPU", "300m")
            .annotate("mbcas.maxCPU", "200m");
        let answer = refusal(space, &crossed.pod())
            .await
            .expect("min > max was let through");
        assert!(
            answer.contains("mbcas.minCPU") && answer.contains("mbcas.maxCPU"),
            "{answer}"
        );
    });
}

#[test]
fn all_faults_of_a_pod_are_told_at_once() {
    on_cluster("refusal-all", Admission::Labelled, async |space| {
        let lab = lab()
            .annotate("mbcas.budget", "lots")
            .annotate("mbcas.mode", "fast");
        let answer = refusal(space, &lab.pod())
            .await
            .expect("it was let through");
        assert!(
            answer.contains("mbcas.budget") && answer.contains("mbcas.mode"),
            "{answer}"
        );
    });
}

#[test]
fn the_api_server_refuses_the_same_with_the_webhook_gone() {
    on_cluster("backstop", Admission::Labelled, async |space| {
        let table = async {
            for (key, value, _) in MALFORMED {
                let answer = refusal(space, &lab().annotate(key, value).pod()).await;
                let answer = answer.unwrap_or_else(|| panic!("{key}={value:?} was let through"));
                assert!(
                    answer.contains("ValidatingAdmissionPolicy 'mbcas-annotations'"),
                    "{key}={value:?} was refused by somebody else: {answer}"
                );
                assert!(answer.contains(key), "{key}={value:?}: {answer}");
                if (key, value) == ("mbcas.budget", "lots") {
                    figure!("refused: {answer}");
                }
            }
            for (key, value) in WELL_FORMED {
                let answer = refusal(space, &lab().annotate(key, value).pod()).await;
                assert_eq!(answer, None, "{key}={value:?}");
            }
        };
        space.release.without_webhook(table).await;
    });
}

#[test]
fn a_running_pods_annotations_are_guarded_too() {
    on_cluster("update", Admission::Labelled, async |space| {
        space.start(&lab().annotate("mbcas.budget", "300")).await;
        let annotate = async |key: &str, value: serde_json::Value| {
            let patch = Patch::Merge(json!({"metadata": {"annotations": {key: value}}}));
            space
                .pods()
                .patch("web", &PatchParams::default(), &patch)
                .await
        };
        for (key, value) in [
            ("mbcas.budget", json!("lots")),
            ("mbcas.mode", json!("fast")),
            ("mbcas.colour", json!("red")),
            (
                "mbcas.dev/original",
                json!("{\"version\":1,\"containers\":{}}"),
            ),
            ("mbcas.dev/original", json!(null)),
        ] {
            let answer = annotate(key, value.clone()).await;
            let Err(kube::Error::Api(status)) = answer else {
                panic!("{key}={value} was let through: {answer:?}");
            };
            assert!(status.message.contains("mbcas"), "{}", status.message);
        }
        annotate("mbcas.budget", json!("600")).await.unwrap();
        annotate("mbcas.budget", json!(null)).await.unwrap();
        annotate("example.org/colour", json!("red")).await.unwrap();
    });
}
