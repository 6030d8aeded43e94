//! What the referee reads: pods, kubelet counters, and the controller's metrics.
//!
//! Everything goes through the API server (its proxies included), so that it
//! works on any cluster that the person who runs the demo administers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, ListParams, ResourceExt};
use mbcas_api::names::AGENT_CONTAINER;
use mbcas_api::participant::{cpu_limit, cpu_request};
use mbcas_core::MilliCpu;
use mbcas_core::annotations::BUDGET;
use mbcas_core::exposition::samples;
use mbcas_core::quantity::Quantity;

use super::DemoError;

/// Where the pieces are.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Where {
    /// Namespace of the three services.
    #[arg(long, global = true, default_value = "mbcas-demo")]
    services: String,
    /// Namespace of the noisy neighbours.
    #[arg(long, global = true, default_value = "mbcas-demo-noise")]
    noise: String,
    /// Namespace and name of the pod that the load comes from.
    #[arg(long, global = true, default_value = "mbcas-demo-load")]
    pub(super) load: String,
    /// Namespace of MBCAS.
    #[arg(long, global = true, default_value = "mbcas-system")]
    system: String,
}

/// The cluster, as the referee sees it.
pub(super) struct Stage {
    client: Client,
    pub(super) at: Where,
}

/// One service's pod.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) pod: String,
    pub(super) node: String,
    pub(super) address: String,
    pub(super) budget: u64,
    pub(super) floor: u64,
    pub(super) limit: u64,
    pub(super) app_restarts: i64,
    pub(super) agent_restarts: i64,
}

/// A CPU counter: seconds used, and when it was read (milliseconds since 1970).
pub(super) type Counter = (f64, i64);

pub(super) fn asking(what: &str, source: kube::Error) -> DemoError {
    DemoError::Cluster {
        what: what.to_owned(),
        source: Box::new(source),
    }
}

impl Stage {
    pub(super) fn new(client: Client, at: Where) -> Self {
        Self { client, at }
    }

    /// The three services, each with its one running pod, by name.
    pub(super) async fn services(&self) -> Result<Vec<Service>, DemoError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.at.services);
        let running = ListParams::default().fields("status.phase=Running");
        let pods = pods
            .list(&running)
            .await
            .map_err(|e| asking("the services' pods", e))?;
        let alive = pods
            .items
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let mut services: Vec<_> = alive.filter_map(service).collect();
        services.sort_by_key(|service| std::cmp::Reverse(service.budget));
        if services.is_empty() {
            let place = &self.at.services;
            return Err(DemoError::Missing(format!(
                "no service runs in namespace {place}: apply the demo's manifests"
            )));
        }
        Ok(services)
    }

    /// The leading controller's metrics, as text.
    pub(super) async fn metrics(&self) -> Result<String, DemoError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.at.system);
        let ours = ListParams::default()
            .labels("app.kubernetes.io/part-of=mbcas,app.kubernetes.io/component=controller");
        let pods = pods
            .list(&ours)
            .await
            .map_err(|e| asking("the controller's pods", e))?;
        for pod in &pods {
            let path = format!(
                "/api/v1/namespaces/{}/pods/{}:9464/proxy/metrics",
                self.at.system,
                pod.name_any()
            );
            let text = self
                .text(&path, "the controller's metrics")
                .await
                .unwrap_or_default();
            if samples(&text, "mbcas_leader").any(|sample| sample.value > 0.5) {
                return Ok(text);
            }
        }
        Err(DemoError::Missing(
            "no controller leads: see `mbcas check`".to_owned(),
        ))
    }

    /// The CPU counters of every container on `node`, by namespace, pod and container.
    pub(super) async fn counters(
        &self,
        node: &str,
    ) -> Result<BTreeMap<[String; 3], Counter>, DemoError> {
        let path = format!("/api/v1/nodes/{node}/proxy/metrics/resource");
        let text = self.text(&path, "the kubelet's counters").await?;
        let mut counters = BTreeMap::new();
        for sample in samples(&text, "container_cpu_usage_seconds_total") {
            let label = |name| sample.label(name).unwrap_or_default().to_owned();
            if let Some(at) = sample.timestamp_ms {
                counters.insert(
                    [label("namespace"), label("pod"), label("container")],
                    (sample.value, at),
                );
            }
        }
        Ok(counters)
    }

    /// What `node` has for pods, in millicores.
    pub(super) async fn allocatable(&self, node: &str) -> Result<u64, DemoError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = nodes.get(node).await.map_err(|e| asking("the node", e))?;
        let cpu = node
            .status
            .and_then(|s| s.allocatable)
            .and_then(|a| a.get("cpu").cloned());
        let cpu = cpu
            .and_then(|q| Quantity::parse(&q.0).ok())
            .and_then(|q| q.as_cpu());
        cpu.map(MilliCpu::get)
            .ok_or_else(|| DemoError::Missing("the node shows no allocatable CPU".to_owned()))
    }

    /// The namespace of the neighbours.
    pub(super) fn noise(&self) -> &str {
        &self.at.noise
    }

    /// The namespace of the services.
    pub(super) fn home(&self) -> &str {
        &self.at.services
    }

    async fn text(&self, path: &str, what: &str) -> Result<String, DemoError> {
        let request = http::Request::get(path).body(Vec::new());
        let request = request.map_err(|e| asking(what, kube::Error::HttpError(e)))?;
        self.client
            .request_text(request)
            .await
            .map_err(|e| asking(what, e))
    }
}

fn service(pod: &Pod) -> Option<Service> {
    let container = pod.spec.as_ref()?.containers.first()?;
    let status = pod.status.as_ref()?;
    let restarts = |list: &Option<Vec<k8s_openapi::api::core::v1::ContainerStatus>>, name: &str| {
        let found = list.iter().flatten().find(|c| c.name == name);
        found.map_or(0, |c| i64::from(c.restart_count))
    };
    Some(Service {
        name: pod.labels().get("app")?.clone(),
        pod: pod.name_any(),
        node: pod.spec.as_ref()?.node_name.clone()?,
        address: status.pod_ip.clone()?,
        budget: pod.annotations().get(BUDGET)?.parse().ok()?,
        floor: cpu_request(container)?.get(),
        limit: cpu_limit(container).map_or(0, MilliCpu::get),
        app_restarts: restarts(&status.container_statuses, &container.name),
        agent_restarts: restarts(&status.init_container_statuses, AGENT_CONTAINER),
    })
}
