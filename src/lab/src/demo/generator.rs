//! The load: `mbcas-lab load`, run by kubectl inside the pod that it comes from.

use std::collections::BTreeMap;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use super::DemoError;
use super::cluster::Service;
use crate::load::Report;

/// How much longer the load runs than is counted, so that the last counter is read under load.
const LONGER: Duration = Duration::from_secs(10);

/// Where the load comes from, and for how long it runs before it counts.
pub(super) struct Generator {
    /// The words that run kubectl on this cluster.
    pub(super) kubectl: String,
    /// The namespace of the pod `load`.
    pub(super) namespace: String,
    /// How long it runs before it counts.
    pub(super) warm_up: Duration,
}

/// Load that is being sent.
pub(super) struct Running(Child);

impl Generator {
    /// Sends `rates` to `services` for the warm-up and `length`. It ends when the handle is dropped.
    pub(super) fn start(
        &self,
        services: &[Service],
        rates: &BTreeMap<String, f64>,
        length: Duration,
    ) -> Result<Running, DemoError> {
        let mut words = self.kubectl.split_whitespace();
        let nothing = || DemoError::Load("no kubectl was named".to_owned());
        let program = words.next().ok_or_else(nothing)?;
        let mut command = Command::new(program);
        command
            .args(words)
            .args(["exec", "--namespace", &self.namespace, "load", "--"]);
        command
            .args(["mbcas-lab", "load"])
            .args(targets(services, rates));
        let (warm_up, seconds) = (self.warm_up.as_secs(), (length + LONGER).as_secs());
        command.args([
            "--warmup",
            &warm_up.to_string(),
            "--seconds",
            &seconds.to_string(),
        ]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.kill_on_drop(true).spawn();
        child
            .map(Running)
            .map_err(|e| DemoError::Load(format!("{program}: {e}")))
    }
}

impl Running {
    /// Waits for its end: what the generator saw, service by service.
    pub(super) async fn reports(self) -> Result<Vec<Report>, DemoError> {
        let output = self.0.wait_with_output().await;
        read(&output.map_err(|e| DemoError::Load(e.to_string()))?)
    }
}

fn targets(services: &[Service], rates: &BTreeMap<String, f64>) -> Vec<String> {
    let target = |service: &Service| {
        let rate = rates.get(&service.name).copied().unwrap_or(1.0);
        let ipv6 = service.address.contains(':');
        let host = if ipv6 {
            format!("[{}]", service.address)
        } else {
            service.address.clone()
        };
        format!(
            "--target={}=http://{host}:8080/work@{rate:.1}",
            service.name
        )
    };
    services.iter().map(target).collect()
}

fn read(output: &Output) -> Result<Vec<Report>, DemoError> {
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(DemoError::Load(
            words.lines().last().unwrap_or("without a word").to_owned(),
        ));
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    let reports = lines
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(serde_json::from_str);
    let malformed = |source| DemoError::Malformed {
        path: "the load generator's report".to_owned(),
        source,
    };
    reports.collect::<Result<_, _>>().map_err(malformed)
}
