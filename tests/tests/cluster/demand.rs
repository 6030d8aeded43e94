//! Urgency: the agent sees its app's queue grow under load, and shrink after it.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams};
use mbcas_core::exposition::samples;
use mbcas_lab::load;
use tokio_util::sync::CancellationToken;

use crate::support::space::{ip, is_ready, limit_of};
use crate::support::wait::that;
use crate::support::{Admission, Lab, Release, SOON, Space, on_cluster, wait_until};

/// The intensity falls by half every 10 s.
const FALLEN: Duration = Duration::from_secs(90);

/// A new leader, the grace after a start and two windows of the kubelet's.
const STARTED: Duration = Duration::from_mins(3);

#[test]
fn intensity_rises_under_load_and_falls_after_it() {
    on_cluster("demand", Admission::Labelled, async |space| {
        // Three times the work that its limit allows, and a limit that the market leaves alone.
        let lab = Lab::serve("web", &["--workers", "2"])
            .request("100m")
            .limit("200m");
        let pod = space.start(&lab.annotate("mbcas.mode", "observe")).await;
        let calm = wait_until("its agent sees it listen", SOON, async || {
            intensity(space, &ip(&pod)).await
        })
        .await;
        assert!(calm < 0.1, "without load it is {calm}");

        let stop = CancellationToken::new();
        let load = load::run(arguments("web", &ip(&pod), 30), stop.clone());
        let rise = async {
            let risen = wait_until("the intensity rises", SOON, async || {
                let now = intensity(space, &ip(&pod)).await?;
                that(now > 0.6, format!("it is {now}"))?;
                Ok(now)
            })
            .await;
            let seen = wait_until("the market hears of it", SOON, async || {
                let seen = at_the_market(space).await?;
                that(seen > 0.6, format!("it counts with {seen}"))?;
                Ok(seen)
            })
            .await;
            stop.cancel();
            (risen, seen)
        };
        let (reports, (risen, seen)) = tokio::join!(load, rise);
        assert!(reports.unwrap()[0].ok > 0, "no request was answered");
        let fallen = wait_until("the intensity falls", FALLEN, async || {
            let now = intensity(space, &ip(&pod)).await?;
            that(now < 0.1, format!("it is {now}"))?;
            Ok(now)
        })
        .await;
        figure!("intensity: {calm:.2} → {risen:.2} under load (market: {seen:.2}) → {fallen:.2}");
    });
}

/// A service whose limit was not loosened yet is asked for more than that.
#[test]
fn a_jump_is_decided_about_between_two_cycles() {
    on_cluster("jump", Admission::Labelled, async |space| {
        Release::upgrade(&["--set", "controller.intervalSeconds=30"]);
        let web = Lab::serve("web", &["--workers", "2"]).request("100m");
        let web = space.start(&web.limit("150m")).await;
        wait_until("its start is over", STARTED, async || {
            let page = space.release.metrics().await?;
            let mut said = samples(&page, "mbcas_recommended_cpu_mcores");
            let ours = said.find(|one| one.label("namespace") == Some(&space.name));
            let why = ours.and_then(|one| one.label("reason"));
            that(why.is_some_and(|why| why != "starting"), format!("{why:?}"))
        })
        .await;
        let limit = async || limit_of(&space.pod("web").await);
        assert_eq!(limit().await, Some(150));
        // A cycle in the middle of the rise would decide before the jump is heard of.
        space.release.after_cycles(1.0).await;
        let before = jumps(space).await.unwrap();

        let stop = CancellationToken::new();
        let load = load::run(arguments("web", &ip(&web), 60), stop.clone());
        let begin = Instant::now();
        let answered = async {
            wait_until("the jump is decided about", SOON, async || {
                that(jumps(space).await?.0 > before.0, "no jump yet")
            })
            .await;
            let decided = begin.elapsed();
            wait_until("its limit grows", SOON, async || {
                let limit = limit().await;
                that(limit > Some(150), format!("it has {limit:?}"))
            })
            .await;
            stop.cancel();
            (decided, begin.elapsed())
        };
        let (_, (decided, grown)) = tokio::join!(load, answered);
        let (all, late) = jumps(space).await.unwrap();
        let (all, late) = (all - before.0, late - before.1);
        figure!(
            "a jump: decided about {decided:.1?} after the load began, 150m → {:?}m after {grown:.1?}; cycles every 30 s",
            limit().await.unwrap()
        );
        assert!(
            late < 1.0,
            "{late} of {all} more than a second after they were heard of"
        );
        assert!(
            grown < Duration::from_secs(10),
            "{grown:?}: by the next cycle?"
        );
        Release::ensure();
    });
}

/// An autoscaler that looks at a workload gives both the same; the market looks at pods.
#[test]
fn of_two_replicas_the_busy_one_is_granted_more() {
    on_cluster("replicas", Admission::Labelled, async |space| {
        let web = Lab::serve("web", &["--workers", "2"]).request("100m");
        let mut deployment = web.limit("200m").deployment();
        deployment.spec.as_mut().unwrap().replicas = Some(2);
        let deployments: Api<Deployment> = Api::namespaced(space.client.clone(), &space.name);
        let create = PostParams::default();
        deployments.create(&create, &deployment).await.unwrap();
        let [hot, cold] = wait_until("both replicas are Ready", SOON, async || {
            let pods = space.pods().list(&ListParams::default()).await.unwrap();
            let ready: Vec<_> = pods.items.into_iter().filter(is_ready).collect();
            ready
                .try_into()
                .map_err(|ready: Vec<_>| format!("{} are", ready.len()))
        })
        .await;
        let stop = CancellationToken::new();
        let load = load::run(arguments("web", &ip(&hot), 40), stop.clone());
        let of = |page: &str, metric: &str, pod: &Pod| {
            let name = pod.name_any();
            let mut all = samples(page, metric);
            let ours = all.find(|one| one.label("pod") == Some(&name));
            ours.map(|one| one.value)
                .ok_or_else(|| format!("no {metric} of {name}"))
        };
        let granted = async {
            let told = wait_until("the busy one is granted more", STARTED, async || {
                let page = space.release.metrics().await?;
                let grant = |pod| of(&page, "mbcas_alloc_cpu_mcores", pod);
                let (hot, cold) = (grant(&hot)?, grant(&cold)?);
                that(
                    hot > 2.0 * cold && hot > 500.0,
                    format!("{hot}m and {cold}m"),
                )?;
                Ok((hot, cold))
            })
            .await;
            space
                .limit(&hot.name_any(), SOON, |limit| limit > 500)
                .await;
            stop.cancel();
            told
        };
        let (reports, (granted, other)) = tokio::join!(load, granted);
        assert!(reports.unwrap()[0].ok > 0, "no request was answered");
        figure!("of two replicas the busy one is granted {granted}m, the other {other}m");
    });
}

/// How many jumps were decided about between two cycles, and how many of them more than a second late.
async fn jumps(space: &Space) -> Result<(f64, f64), String> {
    let page = space.release.metrics().await?;
    let of = |name: &str, le: Option<&str>| {
        let mut found = samples(&page, name);
        let found = found.find(|one| le.is_none() || one.label("le") == le);
        found.map_or(0.0, |one| one.value)
    };
    let all = of("mbcas_jump_seconds_count", None);
    Ok((all, all - of("mbcas_jump_seconds_bucket", Some("1"))))
}

/// For three minutes so many requests a second of 20 ms of work each.
pub(crate) fn arguments(name: &str, ip: &str, rate: u32) -> load::Args {
    load::Args {
        targets: vec![
            format!("{name}=http://{ip}:8080/work?ms=20@{rate}")
                .parse()
                .unwrap(),
        ],
        seconds: 180,
        warmup: 0,
        timeout_ms: 2000,
        slo_ms: 100,
        in_flight: 64,
        seed: 1,
    }
}

/// What the agent says.
async fn intensity(space: &Space, ip: &str) -> Result<f64, String> {
    let report = space.report("web", ip).await?;
    let nothing = || format!("its agent sees nothing that tells: {report:?}");
    report.demand_intensity.ok_or_else(nothing)
}

/// What the market counts with.
async fn at_the_market(space: &Space) -> Result<f64, String> {
    let metrics = space.release.metrics().await?;
    let mut samples = samples(&metrics, "mbcas_demand_intensity");
    let ours = samples.find(|sample| sample.label("namespace") == Some(&space.name));
    ours.map(|sample| sample.value)
        .ok_or_else(|| "the pod is not at the market".to_owned())
}
