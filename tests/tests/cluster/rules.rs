//! The rules that come from a simulation, on the real kernel (docs/decisions/0005), and those of a namespace.

use std::time::Duration;

use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};
use kube::api::Api;
use mbcas_core::exposition::samples;
use mbcas_lab::load;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::demand::arguments;
use super::guards::create;
use crate::support::space::{ip, limit_of};
use crate::support::wait::that;
use crate::support::{Admission, Lab, SOON, Space, on_cluster, wait_until};

/// Longer than a start counts as one.
const STARTED: Duration = Duration::from_secs(45);

/// Where requests are right the kernel's weights do what budgets ask for, and a limit would only cost.
#[test]
fn beside_a_burner_right_requests_need_no_limit() {
    on_cluster("rules", Admission::Labelled, async |space| {
        let web = Lab::serve("web", &["--workers", "4"]).request("900m");
        let web = space.start(&web).await;
        space.start(&Lab::burn("burner", 2).request("100m")).await;
        let stop = CancellationToken::new();
        let load = load::run(arguments("web", &ip(&web), 30), stop.clone());
        let watch = async {
            tokio::time::sleep(STARTED).await;
            let before = limits(space).await;
            space.release.after_cycles(8.0).await;
            let after = limits(space).await;
            stop.cancel();
            (before, after)
        };
        let (reports, (before, after)) = tokio::join!(load, watch);
        let report = &reports.unwrap()[0];
        figure!(
            "{} requests beside a burner: {:.1} % late, p99 {:.0} ms; limits {:?}m, written in no cycle of eight",
            report.sent,
            100.0 * report.violation_share,
            report.p99_ms.unwrap_or(f64::NAN),
            after.map(|(limit, _)| limit.unwrap_or(0)),
        );
        assert_eq!(before, after, "limits and generations");
        // On a machine that has other work as well.
        assert!(report.violation_share < 0.05, "{report:?}");
    });
}

/// What a LimitRange or a quota would refuse is not asked for, cycle after cycle.
#[test]
fn in_a_narrow_namespace_nothing_is_refused() {
    on_cluster("narrow", Admission::Labelled, async |space| {
        let range = json!({"metadata": {"name": "narrow"}, "spec": {"limits": [{"type": "Container", "max": {"cpu": "400m"}}]}});
        create::<LimitRange>(&Api::namespaced(space.client.clone(), &space.name), range).await;
        // Two agents, two apps, and 300m besides.
        let quota = json!({"metadata": {"name": "narrow"}, "spec": {"hard": {"limits.cpu": "1"}}});
        create::<ResourceQuota>(&Api::namespaced(space.client.clone(), &space.name), quota).await;
        let refusals = async || {
            let page = space.release.metrics().await.unwrap();
            let all = samples(&page, "mbcas_resize_outcomes_total");
            let refused = all.filter(|one| {
                let outcome = one.label("outcome").unwrap_or_default();
                ["quota", "limit_range", "forbidden", "admission", "refused"].contains(&outcome)
            });
            refused.map(|one| one.value).sum::<f64>()
        };
        let before = refusals().await;
        for name in ["web", "burner"] {
            space
                .start(&Lab::burn(name, 1).request("100m").limit("150m"))
                .await;
        }
        wait_until("the quota is used up", SOON * 2, async || {
            let sum = limits(space)
                .await
                .iter()
                .filter_map(|(limit, _)| *limit)
                .sum::<u64>();
            that(sum > 500, format!("limits of {sum}m"))
        })
        .await;
        space.release.after_cycles(6.0).await;
        let limits = limits(space).await.map(|(limit, _)| limit.unwrap());
        let refused = refusals().await - before;
        figure!(
            "limits {limits:?}m beneath a LimitRange of 400m and a quota of 600m for both; refused: {refused}"
        );
        assert!(limits.iter().all(|limit| *limit <= 400) && limits.iter().sum::<u64>() <= 600);
        assert!(refused < 1.0, "{refused} writes were refused");
    });
}

async fn limits(space: &Space) -> [(Option<u64>, Option<i64>); 2] {
    let (web, burner) = (space.pod("web").await, space.pod("burner").await);
    [web, burner].map(|pod| (limit_of(&pod), pod.metadata.generation))
}
