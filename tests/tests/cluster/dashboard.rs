//! Every panel shows something: each query of the dashboard returns data from
//! a real Prometheus that scrapes the running controllers and an agent.

use std::time::Duration;

use kube::api::ListParams;
use mbcas_core::demand::AGENT_PORT;
use serde_json::Value;

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
