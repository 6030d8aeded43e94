//! The rules that come from a simulation, on the real kernel (docs/decisions/0005).

use std::time::Duration;

use mbcas_lab::load;
use tokio_util::sync::CancellationToken;

use super::demand::arguments;
use crate::support::space::{ip, limit_of};
use crate::support::{Admission, Lab, Space, on_cluster};

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

async fn limits(space: &Space) -> [(Option<u64>, Option<i64>); 2] {
    let (web, burner) = (space.pod("web").await, space.pod("burner").await);
    [web, burner].map(|pod| (limit_of(&pod), pod.metadata.generation))
}
