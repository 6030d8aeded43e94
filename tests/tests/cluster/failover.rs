//! The controller that leads dies, and the other one takes over.

use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::api::DeleteParams;

use crate::support::space::{cgroup, restarts};
use crate::support::wait::that;
use crate::support::{Admission, Lab, SOON, on_cluster, wait_until};

/// A Lease lasts for 15 s and is looked at every 2 s.
const TAKEN_OVER: Duration = Duration::from_secs(25);

#[test]
fn a_killed_leader_is_followed_by_another_that_writes() {
    on_cluster("failover", Admission::Labelled, async |space| {
        space
            .start(&Lab::serve("before", &[]).request("50m").limit("100m"))
            .await;
        let at_first = space.limit("before", SOON, |limit| limit > 200).await;
        let leader = space.release.leader().await;
        let old = space.release.holder().await;

        // Killed, so that it cannot give the Lease back, and gone, so that it cannot come back.
        assert_eq!(cgroup(&leader, "controller").unwrap().kill(), 1);
        let killed = Instant::now();
        let now = DeleteParams::default().grace_period(0);
        space
            .release
            .pods()
            .delete(&leader.name_any(), &now)
            .await
            .unwrap();

        let new = wait_until("another controller leads", TAKEN_OVER, async || {
            let holder = space.release.holder().await;
            that(
                holder != old && !holder.is_empty(),
                format!("the holder is {holder:?}"),
            )?;
            Ok(holder)
        })
        .await;
        figure!(
            "leader killed: {old} was followed by {new} after {:.1} s",
            killed.elapsed().as_secs_f64()
        );
        assert_ne!(new.rsplit_once('_').unwrap().0, leader.name_any());

        // The next write is the new leader's: a pod that came after the old one's death is moved.
        space
            .start(&Lab::serve("after", &[]).request("50m").limit("100m"))
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
        let leader = space.release.leader().await;
        let old = space.release.holder().await;
        let told = Instant::now();
        space
            .release
            .pods()
            .delete(&leader.name_any(), &DeleteParams::default())
            .await
            .unwrap();
        wait_until(
            "another controller leads",
            Duration::from_secs(10),
            async || {
                let holder = space.release.holder().await;
                that(
                    holder != old && !holder.is_empty(),
                    format!("the holder is {holder:?}"),
                )
            },
        )
        .await;
        figure!(
            "leader told to stop: followed after {:.1} s",
            told.elapsed().as_secs_f64()
        );
    });
}
