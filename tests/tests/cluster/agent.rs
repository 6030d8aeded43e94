//! The agent dies: the market goes on, and so does the app.

use std::time::{Duration, Instant};

use mbcas_api::names::AGENT_CONTAINER;

use crate::support::space::{cgroup, container, is_ready, restarts};
use crate::support::wait::that;
use crate::support::{Admission, Lab, SOON, on_cluster, wait_until};

/// How long a pod whose agent was killed may stay unready.
const UNREADY: Duration = Duration::from_secs(30);

#[test]
fn a_killed_agent_comes_back_and_the_app_does_not_notice() {
    on_cluster("agent", Admission::Labelled, async |space| {
        let pod = space
            .start(&Lab::serve("web", &[]).request("50m").limit("500m"))
            .await;
        let app = container(&pod, "app").unwrap().container_id.clone();
        assert_eq!(cgroup(&pod, AGENT_CONTAINER).unwrap().kill(), 1);
        let killed = Instant::now();

        let (mut unready, mut looked) = (Duration::ZERO, killed);
        wait_until("the agent runs again", UNREADY, async || {
            let pod = space.pod("web").await;
            if !is_ready(&pod) {
                unready += looked.elapsed();
            }
            looked = Instant::now();
            let agent = container(&pod, AGENT_CONTAINER).unwrap();
            let runs = agent
                .state
                .as_ref()
                .is_some_and(|state| state.running.is_some());
            that(
                agent.restart_count == 1 && runs && is_ready(&pod),
                format!(
                    "{} restarts, running: {runs}, pod ready: {}",
                    agent.restart_count,
                    is_ready(&pod)
                ),
            )
        })
        .await;
        let pod = space.pod("web").await;
        println!(
            "agent killed: the pod was whole again after {:.1} s, and unready for {:.1} s of them",
            killed.elapsed().as_secs_f64(),
            unready.as_secs_f64()
        );

        assert_eq!(restarts(&pod), 0, "the app was restarted");
        assert_eq!(
            container(&pod, "app").unwrap().container_id,
            app,
            "the app was replaced"
        );
        space.release.after_cycles(2.0).await;
        let metrics = space.release.metrics().await.unwrap();
        let mut granted = mbcas_core::exposition::samples(&metrics, "mbcas_alloc_cpu_mcores");
        assert!(
            granted.any(|sample| sample.label("namespace") == Some(&space.name)),
            "the pod is not at the market any more"
        );
    });
}

#[test]
fn a_pod_without_an_agent_takes_part_all_the_same() {
    on_cluster("no-agent", Admission::Labelled, async |space| {
        let lab = Lab::burn("app", 2)
            .request("100m")
            .limit("200m")
            .annotate("mbcas.agent", "none");
        let pod = space.start(&lab).await;
        assert!(container(&pod, AGENT_CONTAINER).is_none());
        space.limit("app", SOON, |limit| limit > 300).await;
    });
}
