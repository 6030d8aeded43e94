//! Every panel shows something: each query of the dashboard returns data from
//! a real Prometheus that scrapes the running controllers and an agent.

use std::time::Duration;

use kube::api::ListParams;
use mbcas_core::demand::{AGENT_PORT, METRIC};
use mbcas_lab::load;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::demand::arguments;
use crate::support::environment::workspace;
use crate::support::prometheus::{Prometheus, Target, is_well_formed};
use crate::support::release::admin_address;
use crate::support::space::ip;
use crate::support::wait::that;
use crate::support::{Admission, Lab, SOON, Space, http, on_cluster, wait_until};

/// Time for a few cycles, a resize, and two scrapes of each.
const SHOWN: Duration = Duration::from_mins(2);

#[test]
fn each_query_of_the_dashboard_returns_data() {
    on_cluster("dashboard", Admission::Labelled, async |space| {
        let pod = space
            .start(&Lab::burn("app", 1).request("100m").limit("200m"))
            .await;
        space.limit("app", SOON, |limit| limit > 300).await;
        let agent = format!("{}:{AGENT_PORT}", ip(&pod));
        is_well_formed(&http::page(&agent, "/metrics").await.unwrap());
        is_well_formed(&under_load(space).await);
        let all = controllers(space).await.into_iter().chain([agent]);
        let prometheus = Prometheus::start(all.map(Target::plain));
        prometheus.scrapes().await;

        let queries = queries();
        assert!(
            queries.len() >= 4,
            "the dashboard has {} queries",
            queries.len()
        );
        let mut shown = Vec::new();
        for (panel, query) in queries {
            let found = wait_until(&format!("{panel}: {query}"), SHOWN, async || {
                let found = prometheus.ask(&query).await?;
                that(found > 0, "no data")?;
                Ok(found)
            })
            .await;
            shown.push(format!("{found:3} series  {panel}: {query}"));
        }
        figure!("{}", shown.join("\n"));
    });
}

/// The metrics of an agent that has an intensity to tell of: a burner's has none.
async fn under_load(space: &Space) -> String {
    let web = Lab::serve("web", &["--workers", "2"]).request("50m");
    let web = web.limit("100m").annotate("mbcas.mode", "observe");
    let web = space.start(&web).await;
    let agent = format!("{}:{AGENT_PORT}", ip(&web));
    let stop = CancellationToken::new();
    let load = load::run(arguments("web", &ip(&web), 30), stop.clone());
    let shown = async {
        let page = wait_until("its agent shows an intensity", SOON, async || {
            let page = http::page(&agent, "/metrics").await?;
            let intensity = http::sum_of(&page, METRIC);
            that(intensity > Some(0.1), format!("it is {intensity:?}"))?;
            Ok(page)
        })
        .await;
        stop.cancel();
        page
    };
    let (reports, page) = tokio::join!(load, shown);
    reports.unwrap();
    page
}

async fn controllers(space: &Space) -> Vec<String> {
    let ours = ListParams::default().labels("app.kubernetes.io/component=controller");
    let pods = space.release.pods().list(&ours).await.unwrap();
    pods.iter().map(|pod| admin_address(pod).unwrap()).collect()
}

/// Every panel's title with each of its queries, for all namespaces.
fn queries() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(workspace().join("chart/dashboards/mbcas.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "panel {title:?} asks for nothing");
        for target in targets {
            let query = target["expr"].as_str().unwrap().replace("$namespace", ".*");
            assert!(
                !query.contains('$'),
                "{query}: a variable that this test does not know"
            );
            queries.push((title.to_owned(), query));
        }
    }
    queries
}
