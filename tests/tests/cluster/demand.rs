//! Urgency: the agent sees its app's queue grow under load, and shrink after it.

use std::time::Duration;

use mbcas_core::demand::{AGENT_PORT, DemandReport};
use mbcas_lab::load;
use tokio_util::sync::CancellationToken;

use crate::support::space::ip;
use crate::support::wait::that;
use crate::support::{Admission, Lab, SOON, Space, http, on_cluster, wait_until};

/// The intensity falls by half every 10 s.
const FALLEN: Duration = Duration::from_secs(90);

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
        let load = load::run(arguments(&ip(&pod)), stop.clone());
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

fn arguments(ip: &str) -> load::Args {
    load::Args {
        targets: vec![
            format!("web=http://{ip}:8080/work?ms=20@30")
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
    let mut samples = mbcas_core::exposition::samples(&metrics, "mbcas_demand_intensity");
    let ours = samples.find(|sample| sample.label("namespace") == Some(&space.name));
    ours.map(|sample| sample.value)
        .ok_or_else(|| "the pod is not at the market".to_owned())
}
