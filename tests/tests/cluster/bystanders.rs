//! Whoever was not asked for is left as he is.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::PostParams;
use mbcas_core::annotations::RESERVED_PREFIX;

use crate::support::http::sum_of;
use crate::support::space::{cgroup, has_agent};
use crate::support::wait::that;
use crate::support::{Admission, Lab, SOON, Space, on_cluster, wait_until};

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

/// Millicores by which the capacity moves by itself: MBCAS's own pods request 10m to 20m each, and what
/// one uses beyond (an audit, a Lease that changes hands) is charged as anybody's, up to its weight share.
const OWN: u64 = 100;

/// What a neighbour without a request burns, the kernel gives it of what is idle: the market has as much
/// to give as before. What one requests is his, used or not.
#[test]
fn a_noisy_neighbour_without_a_request_takes_nothing_from_the_market() {
    on_cluster("noisy", Admission::Labelled, async |space| {
        space
            .start(&Lab::serve("web", &[]).request("100m").limit("200m"))
            .await;
        space.release.after_cycles(3.0).await;
        let quiet = capacity(space).await;
        let elsewhere = space.namespace(Admission::Unlabelled, &[]).await;
        let start = async |lab: Lab| {
            let (pods, name) = (space.pods_in(&elsewhere), &lab.name);
            pods.create(&PostParams::default(), &lab.bare_pod())
                .await
                .unwrap();
            wait_until("it burns", SOON, async || {
                let used = cgroup(&pods.get(name).await.unwrap(), "app").map(|app| app.used());
                let second = used.is_some_and(|used| used > Duration::from_secs(1));
                that(second, format!("{used:?} so far"))
            })
            .await;
            cgroup(&pods.get(name).await.unwrap(), "app").unwrap()
        };
        let noise = start(Lab::burn("noise", 2)).await;
        let (before, begin) = (noise.used(), Instant::now());
        // Two windows of the kubelet's, and a cycle that has read them.
        space.release.after_cycles(6.0).await;
        let beside = capacity(space).await;
        let burnt = noise.used().saturating_sub(before);
        let burnt = burnt.div_duration_f64(begin.elapsed());
        start(Lab::burn("requests", 1).request("300m").limit("300m")).await;
        space.release.after_cycles(2.0).await;
        let promised = capacity(space).await;
        figure!(
            "capacity {quiet}m; beside one without a request that burns {burnt:.1} cores {beside}m; \
             beside one that requests 300m {promised}m"
        );
        // What is idle depends on the machine. Three times what would pass unseen is enough to tell.
        assert!(burnt > 0.3, "{burnt} cores are no noise");
        assert!(
            quiet.abs_diff(beside) <= OWN,
            "{quiet}m, then {beside}m beside {burnt:.1} cores without a request"
        );
        let taken = quiet.saturating_sub(promised);
        assert!(
            taken.abs_diff(300) <= OWN,
            "{quiet}m, then {promised}m beside a request of 300m: {taken}m were taken"
        );
    });
}

/// What the node's market has to give, in millicores.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a whole number
async fn capacity(space: &Space) -> u64 {
    let metrics = space.release.metrics().await.unwrap();
    sum_of(&metrics, "mbcas_capacity_mcores").unwrap() as u64
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
