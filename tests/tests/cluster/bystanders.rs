//! Whoever was not asked for is left as he is.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::PostParams;
use mbcas_core::annotations::RESERVED_PREFIX;

use crate::support::space::has_agent;
use crate::support::{Admission, Lab, Space, on_cluster};

#[test]
fn a_namespace_without_the_label_is_untouched() {
    on_cluster("unlabelled", Admission::Unlabelled, async |space| {
        let lab = lab()
            .annotate("mbcas.enabled", "true")
            .annotate("mbcas.budget", "600");
        is_untouched(space, &lab).await;
    });
}

#[test]
fn a_pod_that_opted_out_is_untouched() {
    on_cluster("opted-out", Admission::Labelled, async |space| {
        is_untouched(space, &lab().annotate("mbcas.enabled", "false")).await;
    });
}

#[test]
fn malformed_words_in_a_namespace_without_the_label_are_nobodys_business() {
    on_cluster(
        "unlabelled-malformed",
        Admission::Unlabelled,
        async |space| {
            let pod = lab().annotate("mbcas.budget", "lots").bare_pod();
            let created = space
                .pods()
                .create(&PostParams::default(), &pod)
                .await
                .unwrap();
            assert_eq!(created.annotations()["mbcas.budget"], "lots");
        },
    );
}

/// A container that the market would surely move if it could.
fn lab() -> Lab {
    Lab::burn("app", 1).request("50m").limit("300m")
}

/// The pod is as submitted, and stays so while the market runs.
async fn is_untouched(space: &Space, lab: &Lab) {
    let submitted = lab.bare_pod();
    let created = space
        .pods()
        .create(&PostParams::default(), &submitted)
        .await
        .unwrap();
    let before = space.ready(&lab.name).await;
    space.release.after_cycles(2.0).await;
    let after = space.pod(&lab.name).await;

    assert!(!has_agent(&created));
    assert_eq!(resources(&created), resources(&submitted));
    assert_eq!(after.spec, before.spec);
    assert_eq!(resources(&after), resources(&submitted));
    let ours: Vec<_> = after
        .annotations()
        .keys()
        .filter(|key| key.starts_with(RESERVED_PREFIX))
        .collect();
    assert!(ours.is_empty(), "MBCAS left {ours:?} on it");
}

fn resources(pod: &Pod) -> String {
    let containers = &pod.spec.as_ref().unwrap().containers;
    let resources: Vec<_> = containers.iter().map(|c| c.resources.clone()).collect();
    serde_json::to_string(&resources).unwrap()
}
