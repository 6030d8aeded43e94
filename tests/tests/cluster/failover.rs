//! The controller that leads dies, is told to stop, or stands still, and the other one takes over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use mbcas_api::names::FROZEN_ANNOTATION;
use rustix::process::Signal;
use serde_json::json;

use super::cli::mbcas;
use crate::support::cgroup::Cgroup;
use crate::support::release::{INTERVAL, admin_address};
use crate::support::space::{cgroup, is_ready, restarts};
use crate::support::wait::that;
use crate::support::{Admission, Lab, Release, SOON, Space, http, on_cluster, wait_until};

/// A Lease lasts for 15 s; the others look at it every second, and a request of theirs may be lost, for 1.5 s.
const FOLLOWED: Duration = Duration::from_secs(20);
/// The same where it was given back: without that nobody follows in less than ten seconds.
const HANDED_OVER: Duration = Duration::from_secs(4);

/// Waits until somebody other than `old` leads; gives who, and how long it took since `when`.
async fn followed(release: &Release, old: &str, when: Instant, within: Duration) -> (String, f64) {
    let holder = wait_until("another controller leads", within, async || {
        let holder = release.holder().await;
        let is_new = holder != old && !holder.is_empty();
        that(is_new, format!("the holder is {holder:?}"))?;
        Ok(holder)
    })
    .await;
    (holder, when.elapsed().as_secs_f64())
}

#[test]
fn a_killed_leader_is_followed_by_another_that_writes() {
    on_cluster("failover", Admission::Labelled, async |space| {
        space
            .start(&Lab::serve("before", &[]).request("20m").limit("30m"))
            .await;
        let at_first = space.limit("before", SOON, |limit| limit > 200).await;
        let leader = space.release.leader().await;
        let old = space.release.holder().await;

        // Killed, so that it cannot give the Lease back, and gone, so that it cannot come back.
        let killed = Instant::now();
        assert_eq!(cgroup(&leader, "controller").unwrap().kill(), 1);
        let now = DeleteParams::default().grace_period(0);
        space
            .release
            .pods()
            .delete(&leader.name_any(), &now)
            .await
            .unwrap();

        let (new, after) = followed(&space.release, &old, killed, FOLLOWED).await;
        figure!("leader killed: {old} was followed by {new} after {after:.1} s");
        assert_ne!(new.rsplit_once('_').unwrap().0, leader.name_any());

        // The next write is the new leader's: a pod that came after the old one's death is moved.
        space
            .start(&Lab::serve("after", &[]).request("20m").limit("30m"))
            .await;
        let limit = space.limit("after", SOON, |limit| limit > 200).await;
        figure!(
            "the next write came {:.1} s after the kill ({limit}m)",
            killed.elapsed().as_secs_f64()
        );
        assert_eq!(
            space.release.holder().await,
            new,
            "the Lease went on to somebody else"
        );
        for name in ["before", "after"] {
            assert_eq!(restarts(&space.pod(name).await), 0, "{name} was restarted");
        }
        assert!(at_first > 200);
    });
}

#[test]
fn a_leader_that_is_told_to_stop_hands_over_at_once() {
    on_cluster("hand-over", Admission::Labelled, async |space| {
        let release = &space.release;
        // By the signal itself, and as Kubernetes does it.
        let old = release.holder().await;
        let leader = cgroup(&release.leader().await, "controller").unwrap();
        let told = Instant::now();
        assert_eq!(leader.signal(Signal::TERM), 1);
        let (_, after) = followed(release, &old, told, HANDED_OVER).await;
        figure!("leader got SIGTERM: followed after {after:.1} s");

        both_ready(release).await;
        let old = release.holder().await;
        let leader = release.leader().await.name_any();
        let told = Instant::now();
        let params = DeleteParams::default();
        release.pods().delete(&leader, &params).await.unwrap();
        let (_, after) = followed(release, &old, told, HANDED_OVER * 2).await;
        figure!("leader's pod deleted: followed after {after:.1} s");
    });
}

/// The pods of the controller, when there are two and both are ready.
async fn both_ready(release: &Release) -> Vec<Pod> {
    wait_until("both controllers are ready", SOON, async || {
        let ours = ListParams::default().labels("app.kubernetes.io/component=controller");
        let mut pods = release.pods().list(&ours).await.unwrap().items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        that(
            ready == 2 && pods.len() == 2,
            format!("{ready} of {} are ready", pods.len()),
        )?;
        Ok(pods)
    })
    .await
}

/// How many pods there are to write when the second leader is stopped.
const PODS: usize = 10;
/// Their limit, so tight that even an idle pod is raised whenever its turn comes.
const TIGHT: u64 = 30;

/// A leader that stands still beyond its Lease, in the middle of its writes where
/// that can be arranged, writes none of them when it goes on.
///
/// The first leader is stopped so that the second finds all the pods at once; the
/// second is stopped as soon as its first write is seen.
#[test]
fn a_leader_that_stood_still_beyond_its_lease_writes_nothing() {
    on_cluster("still", Admission::Labelled, async |space| {
        let release = &space.release;
        let both = both_ready(release).await;
        let first = release.leader().await;
        let second = both.iter().find(|pod| pod.name_any() != first.name_any());
        let second = second.expect("two controllers");
        let of = |pod: &Pod| cgroup(pod, "controller").unwrap();
        let (first_process, second_process): (Cgroup, Cgroup) = (of(&first), of(second));

        let old = release.holder().await;
        let (begun, stopped) = (Instant::now(), first_process.stop());
        let names: Vec<_> = (0..PODS).map(|number| format!("p{number}")).collect();
        for name in &names {
            let lab = Lab::serve(name, &[])
                .request("20m")
                .limit(&format!("{TIGHT}m"));
            let params = PostParams::default();
            space.pods().create(&params, &lab.pod()).await.unwrap();
        }
        let created = generations(space).await;
        let (holder, after) = followed(release, &old, begun, FOLLOWED).await;
        figure!("leader stood still: {holder} followed after {after:.1} s");
        wait_until("the second leader writes", SOON, async || {
            let now = generations(space).await;
            that(now != created, "nothing is written yet")
        })
        .await;
        let (begun, stopped_second) = (Instant::now(), second_process.stop());
        drop(stopped);

        let (holder, after) = followed(release, &holder, begun, FOLLOWED).await;
        figure!("the second stood still: {holder} followed after {after:.1} s");
        for name in &names {
            space.limit(name, SOON, |limit| limit > TIGHT).await;
        }
        let settled = settled(space).await;
        let before = written(&first).await;
        drop(stopped_second);

        wait_until("the second sees that it has lost", SOON, async || {
            let (pods, name) = (release.pods(), second.name_any());
            let log = pods.logs(&name, &LogParams::default()).await;
            let log = log.map_err(|why| why.to_string())?;
            that(log.contains("Lost the Lease"), "its log does not say so")
        })
        .await;
        tokio::time::sleep(Duration::from_secs(3 * INTERVAL)).await;
        let now = generations(space).await;
        let since: i64 = now.iter().map(|(name, now)| now - settled[name]).sum();
        assert_eq!(
            u64::try_from(since).unwrap(),
            written(&first).await - before,
            "somebody else than the leader has written: {settled:?}, then {now:?}"
        );
        let metrics = http::page(&admin_address(second).unwrap(), "/metrics").await;
        let metrics = metrics.unwrap();
        let refused = metrics
            .lines()
            .find(|line| line.contains("mbcas_resize_outcomes_total{outcome=\"not_leading\"}"));
        figure!("it went on, and wrote nothing: {refused:?}");
        assert_eq!(http::sum_of(&metrics, "mbcas_leader"), Some(0.0));
    });
}

/// So many that they are not written before somebody sees the first: five are in flight at a time.
const MANY: usize = 10;

/// Killed between two writes of one cycle: what it had written is carried on by the next, and every
/// pod's way back is on the pod, whoever wrote last.
#[test]
fn a_leader_killed_in_the_middle_of_its_writes_loses_no_way_back() {
    on_cluster("mid-write", Admission::Labelled, async |space| {
        both_ready(&space.release).await;
        let namespaces: Api<Namespace> = Api::all(space.client.clone());
        let freeze = async |frozen: Option<&str>| {
            let change = json!({"metadata": {"annotations": {FROZEN_ANNOTATION: frozen}}});
            let (write, change) = (PatchParams::default(), Patch::Merge(change));
            let frozen = namespaces.patch(&space.name, &write, &change);
            frozen.await.unwrap();
        };
        freeze(Some("true")).await;
        let names: Vec<_> = (0..MANY).map(|number| format!("p{number}")).collect();
        let tight = format!("{TIGHT}m");
        for name in &names {
            let lab = Lab::serve(name, &[]).request("20m").limit(&tight);
            let params = PostParams::default();
            space.pods().create(&params, &lab.pod()).await.unwrap();
        }
        for name in &names {
            space.ready(name).await;
        }
        let created = generations(space).await;
        let leader = cgroup(&space.release.leader().await, "controller").unwrap();
        freeze(None).await;
        wait_until("the leader writes", SOON, async || {
            let now = generations(space).await;
            that(now != created, "nothing is written yet")
        })
        .await;
        assert_eq!(leader.kill(), 1);
        // What is on its way to the API server when it dies arrives.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = generations(space).await;
        let written = now.iter().filter(|(name, now)| created[*name] != **now);
        let written = written.count();
        figure!("leader killed when {written} of {MANY} pods were written");
        assert!((1..MANY).contains(&written), "not in the middle");
        for name in &names {
            space.limit(name, SOON, |limit| limit > TIGHT).await;
        }
        let restored = async {
            let words = ["restore", "--all", "--namespace", &space.name];
            let (status, out, err) = mbcas(&words);
            assert_eq!(status, 0, "{out}{err}");
            for name in &names {
                space.limit(name, SOON, |limit| limit == TIGHT).await;
                assert_eq!(restarts(&space.pod(name).await), 0, "{name}");
            }
        };
        space.release.without_controller(restored).await;
    });
}

/// How often each pod's spec has been written.
async fn generations(space: &Space) -> BTreeMap<String, i64> {
    let pods = space.pods().list(&ListParams::default()).await.unwrap();
    let generation = |pod: &Pod| (pod.name_any(), pod.metadata.generation.unwrap_or(0));
    pods.iter().map(generation).collect()
}

/// The same when the market has come to rest: nothing was written for three cycles.
async fn settled(space: &Space) -> BTreeMap<String, i64> {
    let mut last = (generations(space).await, Instant::now());
    wait_until("the market comes to rest", SOON * 2, async || {
        let now = generations(space).await;
        if now != last.0 {
            last = (now, Instant::now());
        }
        that(
            last.1.elapsed() > Duration::from_secs(3 * INTERVAL),
            "pods are still written",
        )?;
        Ok(last.0.clone())
    })
    .await
}

/// How many writes `controller` counts.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
async fn written(controller: &Pod) -> u64 {
    let address = admin_address(controller).unwrap();
    let metrics = http::page(&address, "/metrics").await.unwrap();
    http::sum_of(&metrics, "mbcas_resize_events_total").unwrap_or(0.0) as u64
}
