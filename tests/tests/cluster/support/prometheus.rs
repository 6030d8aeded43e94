//! A Prometheus of our own, which ends with the test.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::wait::that;
use super::{SOON, http, wait_until};

/// Where it listens: the machine's own address on the node's network, so that pods can ask it too.
const HOST: &str = "100.64.0.1";

/// What is scraped.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    address: String,
    labels: Value,
}

impl Target {
    /// This address, by which alone it is known.
    pub(crate) fn plain(address: String) -> Self {
        Self {
            address,
            labels: json!({}),
        }
    }

    /// This port of a pod, known by the pod's name as discovery would: what it says of itself by these labels
    /// is renamed.
    pub(crate) fn pod(namespace: &str, pod: &str, container: &str, address: String) -> Self {
        let labels = json!({"namespace": namespace, "pod": pod, "container": container});
        Self { address, labels }
    }
}

/// It scrapes every second.
pub(crate) struct Prometheus {
    process: Child,
    /// Where it is asked.
    pub(crate) address: String,
    folder: PathBuf,
    targets: usize,
}

impl Prometheus {
    pub(crate) fn start(targets: impl IntoIterator<Item = Target>) -> Self {
        let all: Vec<Value> = targets
            .into_iter()
            .map(|target| json!({"targets": [target.address], "labels": target.labels}))
            .collect();
        let targets = all.len();
        let name = format!("prometheus-{}", std::process::id());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        // JSON is YAML.
        let config = json!({
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [{"job_name": "mbcas", "static_configs": all}],
        });
        std::fs::write(folder.join("prometheus.yml"), config.to_string()).unwrap();
        // Free a moment ago; who else would take it?
        let address = TcpListener::bind((HOST, 0))
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
            targets,
        }
    }

    /// Returns when every target has been scraped.
    pub(crate) async fn scrapes(&self) {
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

    /// Stops it until what it gives is dropped: connections to it are made, and nothing is answered.
    pub(crate) fn stop(&self) -> Stopped<'_> {
        self.signal(Signal::STOP);
        Stopped(self)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// How many series `query` returns now.
    pub(crate) async fn ask(&self, query: &str) -> Result<usize, String> {
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

/// A Prometheus that is stopped; dropped, it goes on.
pub(crate) struct Stopped<'a>(&'a Prometheus);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::CONT);
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

/// Asserts that promtool has nothing to say against a page of metrics.
pub(crate) fn is_well_formed(page: &str) {
    let binary = std::env::var_os("MBCAS_TEST_PROMTOOL").unwrap_or_else(|| "promtool".into());
    let mut promtool = Command::new(&binary)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|why| {
            panic!(
                "{}: {why}. Install it (Debian: apt-get install prometheus) or set MBCAS_TEST_PROMTOOL",
                binary.display()
            )
        });
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(page.as_bytes()).unwrap();
    drop(input);
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}{page}");
}
