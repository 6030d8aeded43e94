//! When every controller is dead, pods get back what their owners wrote, by themselves.

use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, ListParams};
use mbcas_api::names::CONTROLLER_LEASE;

use super::cli::mbcas;
use crate::support::release::NAMESPACE;
use crate::support::space::restarts;
use crate::support::wait::that;
use crate::support::{Admission, Lab, Release, SOON, Space, on_cluster, wait_until};

/// A minute until the Job comes, half of one for which it watches the Lease, and the pod's start.
const RUN: Duration = Duration::from_mins(3);

#[test]
fn when_nobody_leads_originals_return_by_themselves() {
    on_cluster("dead-man", Admission::Labelled, async |space| {
        Release::upgrade(&[
            "--set=restore.deadMan.after=20s",
            "--set=restore.deadMan.schedule=* * * * *",
        ]);
        let lab = Lab::serve("web", &[]).request("20m").limit("30m");
        space.start(&lab).await;
        let led = space.limit("web", SOON, |limit| limit > 30).await;

        // As long as somebody leads it comes and goes.
        let jobs: Api<Job> = Api::namespaced(space.client.clone(), NAMESPACE);
        wait_until("a Job of the dead man ends", RUN, async || {
            let ours = ListParams::default().labels("app.kubernetes.io/component=dead-man");
            let found = jobs.list(&ours).await.unwrap().items;
            let mut done = found
                .iter()
                .filter_map(|job| job.status.as_ref()?.succeeded);
            that(done.any(|done| done > 0), format!("{} Jobs", found.len()))
        })
        .await;
        space.limit("web", SOON, |limit| limit == led).await;

        space.release.without_controller(returned(space)).await;
        // Whoever leads again sets limits again.
        space.limit("web", RUN, |limit| limit > 30).await;
        assert_eq!(restarts(&space.pod("web").await), 0);
    });
}

/// The record is on the pod, and who restores needs nobody of ours.
#[test]
fn with_every_process_dead_the_command_still_restores() {
    on_cluster("all-dead", Admission::Labelled, async |space| {
        let lab = Lab::serve("web", &[]).request("20m").limit("30m");
        space.start(&lab).await;
        space.limit("web", SOON, |limit| limit > 30).await;
        let by_hand = async {
            let (status, out, err) = mbcas(&["restore", "web", "--namespace", &space.name]);
            assert_eq!(status, 0, "{out}{err}");
            space.limit("web", SOON, |limit| limit == 30).await;
        };
        let release = &space.release;
        let alone = release.without_webhook(by_hand);
        release.without_controller(Box::pin(alone)).await;
        assert_eq!(restarts(&space.pod("web").await), 0);
    });
}

/// Waits until `web` has its original limit, and somebody has said why.
async fn returned(space: &Space) {
    let dead = Instant::now();
    space.limit("web", RUN, |limit| limit == 30).await;
    figure!(
        "all controllers dead: the original limit was back after {:.0} s",
        dead.elapsed().as_secs_f64()
    );
    let lease = CONTROLLER_LEASE;
    let note = space.event(NAMESPACE, lease, "NobodyLeads", SOON).await;
    figure!("Event on the Lease: {note}");
}
