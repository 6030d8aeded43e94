//! The market moves limits, the kernel follows, and nothing restarts.

use std::time::{Duration, Instant};

use crate::support::space::{cgroup, limit_of, restarts};
use crate::support::wait::that;
use crate::support::{Admission, Lab, SOON, on_cluster, wait_until};

/// A reversal waits for a minute after the last write, and then for a cycle.
const REVERSAL: Duration = Duration::from_mins(2);

#[test]
fn limits_follow_the_market_down_to_the_kernel_without_a_restart() {
    on_cluster("resize", Admission::Labelled, async |space| {
        let first = space
            .start(&Lab::burn("first", 1).request("100m").limit("200m"))
            .await;
        let begin = limit_of(&first).unwrap();
        let alone = space.limit("first", SOON, |limit| limit > 400).await;
        assert!(alone > begin, "alone on the node it has {alone}m");

        space
            .start(
                &Lab::burn("second", 2)
                    .request("100m")
                    .limit("200m")
                    .annotate("mbcas.budget", "300"),
            )
            .await;
        let shared = space
            .limit("first", REVERSAL, |limit| limit < alone * 3 / 4)
            .await;
        let second = space.limit("second", SOON, |limit| limit > shared).await;
        figure!(
            "first: {begin}m → alone {alone}m → beside a budget of 300 {shared}m; second: {second}m"
        );

        for name in ["first", "second"] {
            let pod = space.pod(name).await;
            assert_eq!(restarts(&pod), 0, "{name} was restarted");
            let uid = |pod: &k8s_openapi::api::core::v1::Pod| pod.metadata.uid.clone();
            assert!(
                name != "first" || uid(&pod) == uid(&first),
                "{name} was replaced"
            );
        }
    });
}

/// A start needs more than what comes after it, and a limit that was set before it would starve it.
#[test]
fn a_container_that_restarts_under_a_tight_limit_starts_with_its_cap() {
    on_cluster("restart", Admission::Labelled, async |space| {
        let held = Lab::burn("held", 1).request("100m").limit("200m");
        space.start(&held.annotate("mbcas.maxCPU", "1200m")).await;
        space.limit("held", SOON, |limit| limit == 1_200).await;
        let rival = Lab::burn("rival", 2).request("100m").limit("200m");
        space.start(&rival.annotate("mbcas.budget", "300")).await;
        let tight = space.limit("held", REVERSAL, |limit| limit < 900).await;

        let pod = space.pod("held").await;
        assert_eq!(cgroup(&pod, "app").unwrap().kill(), 1);
        let killed = Instant::now();
        let raised = wait_until("it has restarted and has its cap", SOON, async || {
            let pod = space.pod("held").await;
            let (restarts, limit) = (restarts(&pod), limit_of(&pod));
            let is_raised = restarts == 1 && limit == Some(1_200);
            that(is_raised, format!("{restarts} restarts, limit {limit:?}m"))?;
            Ok(killed.elapsed())
        })
        .await;
        let again = space.limit("held", REVERSAL, |limit| limit < 900).await;
        figure!(
            "held at {tight}m → restarted, at its cap of 1200m after {:.1} s → held at {again}m after {:.0} s",
            raised.as_secs_f64(),
            killed.elapsed().as_secs_f64()
        );
    });
}

#[test]
fn a_pod_in_mode_observe_is_measured_and_not_moved() {
    on_cluster("observe", Admission::Labelled, async |space| {
        let lab = Lab::burn("app", 1)
            .request("100m")
            .limit("200m")
            .annotate("mbcas.mode", "observe");
        space.start(&lab).await;
        space.release.after_cycles(3.0).await;
        let metrics = space.release.metrics().await.unwrap();
        let granted = mbcas_core::exposition::samples(&metrics, "mbcas_alloc_cpu_mcores")
            .find(|sample| sample.label("namespace") == Some(&space.name))
            .map(|sample| sample.value);
        assert!(
            granted.is_some_and(|granted| granted > 200.0),
            "granted: {granted:?}"
        );
        assert_eq!(limit_of(&space.pod("app").await), Some(200));
    });
}
