//! Every panel shows something: each query of the dashboard returns data from
//! a real Prometheus that scrapes the running controllers and an agent.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kube::api::ListParams;
use mbcas_core::demand::AGENT_PORT;
use serde_json::Value;

use crate::support::environment::workspace;
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
        let prometheus = Prometheus::start(&[controllers(space).await, vec![agent]].concat());
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

/// A Prometheus of our own, on loopback; it ends with this value, and so does its folder.
struct Prometheus {
    process: Child,
    address: String,
    folder: PathBuf,
    targets: usize,
}

impl Prometheus {
    fn start(targets: &[String]) -> Self {
        let name = format!("prometheus-{}", std::process::id());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: mbcas\n  static_configs:\n  - targets: {targets:?}\n"
        );
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        // Free a moment ago; who else would take it?
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        let binary =
            std::env::var_os("MBCAS_TEST_PROMETHEUS").unwrap_or_else(|| "prometheus".into());
        let process = Command::new(&binary)
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap_or_else(|why| {
                panic!(
                    "{}: {why}. Install it (Debian: apt-get install prometheus) or set MBCAS_TEST_PROMETHEUS",
                    binary.display()
                )
            });
        Self {
            process,
            address,
            folder,
            targets: targets.len(),
        }
    }

    /// Returns when every target has been scraped.
    async fn scrapes(&self) {
        wait_until("Prometheus scrapes all targets", SOON, async || {
            let up = self.ask("up == 1").await?;
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            that(
                up == self.targets,
                format!(
                    "{up} of {} are up; its log ends with {:?}",
                    self.targets,
                    log.lines().last()
                ),
            )
        })
        .await;
    }

    /// How many series `query` returns now.
    async fn ask(&self, query: &str) -> Result<usize, String> {
        let path = format!("/api/v1/query?query={}", escaped(query));
        let answer = http::page(&self.address, &path).await?;
        let answer: Value = serde_json::from_str(&answer).map_err(|why| why.to_string())?;
        answer["data"]["result"]
            .as_array()
            .map(Vec::len)
            .ok_or_else(|| answer.to_string())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// For a URL's query: all but letters and digits as their bytes.
fn escaped(text: &str) -> String {
    let byte = |b: u8| match b {
        b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}
