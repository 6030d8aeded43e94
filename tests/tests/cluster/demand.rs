//! Urgency: the agent sees its app's queue grow under load, and shrink after it.

use std::time::{Duration, Instant};

use mbcas_core::demand::{AGENT_PORT, DemandReport};
use mbcas_core::exposition::samples;
use mbcas_lab::load;
use tokio_util::sync::CancellationToken;

use crate::support::space::{ip, limit_of};
use crate::support::wait::that;
use crate::support::{Admission, Lab, Release, SOON, Space, http, on_cluster, wait_until};

/// The intensity falls by half every 10 s.
const FALLEN: Duration = Duration::from_secs(90);

/// A hog is known to be short after some windows of the kubelet's.
const SHORT: Duration = Duration::from_mins(3);

#[test]
fn intensity_rises_under_load_and_falls_after_it() {
    on_cluster("demand", Admission::Labelled, async |space| {
        // Three times the work that its limit allows, and a limit that the market leaves alone.
        let lab = Lab::serve("web", &["--workers", "2"])
            .request("100m")
            .limit("200m");
        let pod = space.start(&lab.annotate("mbcas.mode", "observe")).await;
        let calm = intensity(space, &ip(&pod)).await.unwrap();
        assert!(calm < 0.1, "without load it is {calm}");

        let stop = CancellationToken::new();
        let load = load::run(arguments(&ip(&pod), 30), stop.clone());
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

/// Beside a hog that has what is left, a service that was idle is asked for all of the node.
#[test]
fn a_jump_is_decided_about_between_two_cycles() {
    on_cluster("jump", Admission::Labelled, async |space| {
        Release::upgrade(&["--set", "controller.intervalSeconds=30"]);
        let hog = Lab::burn("hog", 2).request("300m");
        space.start(&hog.annotate("mbcas.budget", "100")).await;
        let web = Lab::serve("web", &["--workers", "2"]).request("100m");
        let web = space.start(&web.annotate("mbcas.budget", "600")).await;
        let hogs = async || limit_of(&space.pod("hog").await);
        wait_until("the hog is held", SHORT, async || {
            let limit = hogs().await.ok_or("it has no limit")?;
            that(limit < 1_900, format!("it has {limit}m"))?;
            let (decided, _) = jumps(space).await?;
            that(decided == 0.0, format!("{decided} jumps before the load"))
        })
        .await;
        let before = hogs().await;

        let stop = CancellationToken::new();
        let load = load::run(arguments(&ip(&web), 150), stop.clone());
        let begin = Instant::now();
        let heard = async {
            wait_until("the jump is heard", SOON, async || {
                let (decided, _) = jumps(space).await?;
                that(decided > 0.0, "no jump yet")
            })
            .await;
            let heard = begin.elapsed();
            wait_until("the hog gives way", SOON, async || {
                that(hogs().await < before, format!("it has {:?}m", hogs().await))
            })
            .await;
            stop.cancel();
            (heard, begin.elapsed())
        };
        let (_, (heard, moved)) = tokio::join!(load, heard);
        let (decided, late) = jumps(space).await.unwrap();
        figure!(
            "a jump was decided about {heard:.1?} after the load began, and the hog had given way after {moved:.1?} \
             ({before:?}m → {:?}m); cycles every 30 s",
            hogs().await
        );
        assert_eq!(late, 0.0, "of {decided} jumps more than a second late");
        assert!(heard < Duration::from_secs(10), "{heard:?}");
        Release::ensure();
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

fn arguments(ip: &str, rate: u32) -> load::Args {
    load::Args {
        targets: vec![
            format!("web=http://{ip}:8080/work?ms=20@{rate}")
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

/// What the agent says, read as strictly as the controller does.
async fn intensity(space: &Space, ip: &str) -> Result<f64, String> {
    let body = http::page(&format!("{ip}:{AGENT_PORT}"), "/demand").await?;
    let report = DemandReport::parse(body.as_bytes(), &space.name, "web", "app");
    let (report, _) = report.map_err(|why| format!("{why}: {body}"))?;
    Ok(report.demand_intensity)
}

/// What the market counts with.
async fn at_the_market(space: &Space) -> Result<f64, String> {
    let metrics = space.release.metrics().await?;
    let mut samples = samples(&metrics, "mbcas_demand_intensity");
    let ours = samples.find(|sample| sample.label("namespace") == Some(&space.name));
    ours.map(|sample| sample.value)
        .ok_or_else(|| "the pod is not at the market".to_owned())
}
