//! What injection costs an app's start: at most half a second at the 95th percentile.
//!
//! A start is counted from the moment the creation is sent to the moment the
//! kernel started the app's process. The status of the pod would be too
//! coarse: it has whole seconds, and the kubelet looks at its containers once a second.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use rustix::time::{ClockId, clock_gettime};

use crate::support::space::{cgroup, dry_run, has_agent};
use crate::support::wait::that;
use crate::support::{Admission, Lab, SOON, on_cluster, wait_until};

const PAIRS: usize = 20;
/// The most that injection may add, in seconds, at the 95th percentile. Of twenty pairs that is the second largest, with
/// the noise of two starts in each: where it is more, twenty others are added.
const ADDED: f64 = 0.5;
/// and at the median, which has hardly any noise.
const USUALLY_ADDED: f64 = 0.3;

#[test]
fn injection_adds_at_most_half_a_second_to_a_start() {
    on_cluster("delay", Admission::Labelled, async |space| {
        let plainly = space.pods_in(&space.namespace(Admission::Unlabelled, &[]).await);
        let injected = space.pods();
        // The first start of an image on a node is not a start like the others.
        start(&plainly, false).await;
        start(&injected, true).await;
        figure!(
            "the sidecar's resources: {}",
            sidecar_resources(&injected).await
        );
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for pair in 0..2 * PAIRS {
            if pair >= PAIRS && percentile(&added(&without, &with), 95) <= ADDED {
                break;
            }
            if pair % 2 == 0 {
                without.push(start(&plainly, false).await);
                with.push(start(&injected, true).await);
            } else {
                with.push(start(&injected, true).await);
                without.push(start(&plainly, false).await);
            }
        }
        let added = added(&without, &with);
        for (what, seconds) in [
            ("without", &without),
            ("injected", &with),
            ("added", &added),
        ] {
            tell(what, seconds);
        }
        let (p50, p95) = (percentile(&added, 50), percentile(&added, 95));
        assert!(
            p95 <= ADDED && p50 <= USUALLY_ADDED,
            "injection adds {p50:.2} s at the median, {p95:.2} s at the 95th percentile"
        );
    });
}

/// Seconds from the creation of a pod to the start of its app.
async fn start(pods: &Api<Pod>, injected: bool) -> f64 {
    let lab = Lab::serve("web", &[]).request("50m").limit("1");
    let sent = since_boot();
    let created = pods
        .create(&PostParams::default(), &lab.pod())
        .await
        .unwrap();
    assert_eq!(has_agent(&created), injected, "the pod of the wrong kind");
    let process = wait_until("the app's process", SOON, async || {
        let group = cgroup(&pods.get("web").await.unwrap(), "app");
        let process = group.and_then(|group| group.processes().first().copied());
        process.ok_or_else(|| "there is none".to_owned())
    })
    .await;
    let started = started(process);
    pods.delete("web", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    wait_until("the pod goes", SOON, async || {
        let found = pods.get_opt("web").await.unwrap();
        that(found.is_none(), "it is still there")
    })
    .await;
    started - sent.as_secs_f64()
}

/// What is measured depends on the CPU limit in here.
async fn sidecar_resources(pods: &Api<Pod>) -> String {
    let pod = Lab::serve("web", &[]).request("50m").pod();
    let pod = pods.create(&dry_run(), &pod).await.unwrap();
    let sidecar = &pod.spec.unwrap().init_containers.unwrap()[0];
    serde_json::to_string(&sidecar.resources).unwrap()
}

fn since_boot() -> Duration {
    clock_gettime(ClockId::Boottime).try_into().unwrap()
}

/// When a process started, in seconds since boot, to the hundredth (`proc_pid_stat(5)`, field 22).
#[allow(clippy::cast_precision_loss)] // some 10^9 ticks
fn started(process: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The second field is a name in brackets, which may hold anything.
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 = rest.split(' ').nth(19).unwrap().parse().unwrap();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// By how much each of those that were injected was later than its like.
fn added(without: &[f64], with: &[f64]) -> Vec<f64> {
    let pairs = without.iter().zip(with);
    pairs.map(|(without, with)| with - without).collect()
}

fn percentile(seconds: &[f64], percent: usize) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * percent).div_ceil(100) - 1]
}

/// Prints a distribution.
fn tell(what: &str, seconds: &[f64]) {
    let at = |percent| percentile(seconds, percent);
    figure!(
        "{what:9} p50 {:.2} s  p95 {:.2} s  min {:.2} s  max {:.2} s  all {seconds:.2?}",
        at(50),
        at(95),
        at(1),
        at(100)
    );
}
