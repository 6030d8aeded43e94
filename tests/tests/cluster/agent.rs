//! The agent dies: the market goes on, and so does the app.

use std::time::{Duration, Instant};

use mbcas_api::names::AGENT_CONTAINER;
use mbcas_core::demand::AGENT_PORT;

use crate::support::http::page;
use crate::support::space::{cgroup, container, ip, is_ready, restarts};
use crate::support::wait::that;
use crate::support::{Admission, Lab, SOON, Space, on_cluster, wait_until};

/// How long a pod whose agent was killed may stay unready. The kubelet starts a
/// container again at once, and one that ended soon after a start 10 s later.
const UNREADY: Duration = Duration::from_secs(30);

#[test]
fn a_killed_agent_comes_back_and_neither_app_nor_market_notice() {
    on_cluster("agent", Admission::Labelled, async |space| {
        let lab = Lab::serve("web", &[]).request("50m").limit("500m");
        let pod = space.start(&lab).await;
        let app = container(&pod, "app").unwrap().container_id.clone();
        for kills in 1..=2 {
            let pod = space.pod("web").await;
            assert_eq!(cgroup(&pod, AGENT_CONTAINER).unwrap().kill(), 1);
            let killed = Instant::now();
            let (unready, ()) =
                tokio::join!(recovery(space, kills), space.release.after_cycles(1.0));
            figure!(
                "agent killed, time {kills}: the pod was whole again within {:.1} s, and unready for {:.1} s of them",
                killed.elapsed().as_secs_f64(),
                unready.as_secs_f64()
            );
            assert!(is_at_the_market(space).await, "the pod has left the market");
        }
        let pod = space.pod("web").await;
        assert_eq!(restarts(&pod), 0, "the app was restarted");
        assert_eq!(
            container(&pod, "app").unwrap().container_id,
            app,
            "the app was replaced"
        );
    });
}

/// What an agent may have in memory, and of it what no other agent shares: kB of 1,000 bytes.
const RESIDENT: u64 = 1_500;
const ANONYMOUS: u64 = 200;

#[test]
fn an_agent_that_is_asked_all_the_time_stays_small() {
    on_cluster("small", Admission::Labelled, async |space| {
        let pod = space.start(&Lab::serve("web", &[]).request("50m")).await;
        let (address, agent) = (ip(&pod), cgroup(&pod, AGENT_CONTAINER).unwrap());
        for _ in 0..1_000 {
            for path in ["/metrics", "/demand", "/demand?above=0.0&wait=1"] {
                page(&format!("{address}:{AGENT_PORT}"), path)
                    .await
                    .unwrap();
            }
        }
        // What it keeps, and not what an answer that is under way takes.
        let (mut resident, mut anonymous) = (u64::MAX, u64::MAX);
        for _ in 0..10 {
            resident = resident.min(agent.resident() / 1_000);
            anonymous = anonymous.min(agent.anonymous() / 1_000);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        figure!("agent after 3,000 pages: {resident} kB resident, {anonymous} kB of it anonymous");
        assert!(
            resident <= RESIDENT && anonymous <= ANONYMOUS,
            "where code or dependencies have changed, deploy/bench/agent-order.sh lays its functions out anew"
        );
    });
}

/// Waits until the agent runs again after `kills` kills, and gives the time
/// for which the pod was seen unready meanwhile.
async fn recovery(space: &Space, kills: i32) -> Duration {
    let (mut unready, mut looked) = (Duration::ZERO, Instant::now());
    wait_until("the agent runs again", UNREADY, async || {
        let pod = space.pod("web").await;
        let (since, ready) = (looked.elapsed(), is_ready(&pod));
        looked = Instant::now();
        unready += if ready { Duration::ZERO } else { since };
        let agent = container(&pod, AGENT_CONTAINER).unwrap();
        let runs = agent
            .state
            .as_ref()
            .is_some_and(|state| state.running.is_some());
        that(
            agent.restart_count == kills && runs && ready,
            format!(
                "{} restarts, running: {runs}, pod ready: {ready}",
                agent.restart_count
            ),
        )
    })
    .await;
    unready
}

async fn is_at_the_market(space: &Space) -> bool {
    let metrics = space.release.metrics().await.unwrap();
    let mut granted = mbcas_core::exposition::samples(&metrics, "mbcas_alloc_cpu_mcores");
    granted.any(|sample| sample.label("namespace") == Some(&space.name))
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

/// Nothing listens in it, and two threads share the fifth of a core that its limit leaves them: with
/// `mbcas.processes: shared` its agent sees them wait, and, as it is the same user, the limit stop them.
#[test]
fn an_agent_that_may_see_the_apps_threads_says_what_they_could_use() {
    on_cluster("shared", Admission::Labelled, async |space| {
        let lab = Lab::burn("app", 2).request("100m").limit("200m");
        let lab = lab
            .annotate("mbcas.processes", "shared")
            .annotate("mbcas.mode", "observe");
        let pod = space.start(&lab).await;
        assert_eq!(
            pod.spec.as_ref().unwrap().share_process_namespace,
            Some(true)
        );
        let report = wait_until("its agent sees the threads wait", SOON, async || {
            let report = space.report("app", &ip(&pod)).await?;
            let waits = report.breakdown.waiting > Some(0.9);
            let is_stopped = report.breakdown.throttling > Some(0.9);
            let needs = report.need_millicores >= Some(1_000);
            let is_urgent = report.demand_intensity > Some(0.9);
            let is_seen = waits && is_stopped && needs && is_urgent;
            that(is_seen, format!("{report:?}"))?;
            Ok(report)
        })
        .await;
        figure!(
            "two threads under a limit of 200m, seen by their agent: intensity {:.2}, need {}m, {:?}",
            report.demand_intensity.unwrap(),
            report.need_millicores.unwrap(),
            report.breakdown
        );
    });
}
