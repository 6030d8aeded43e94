//! A namespace per test, and what tests do in it.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::api::core::v1::{ContainerStatus, Namespace, Pod, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt};
use mbcas_api::names::{AGENT_CONTAINER, INJECTION_ENABLED, INJECTION_LABEL};
use mbcas_core::Quantity;
use mbcas_core::demand::{AGENT_PORT, DemandReport};
use serde_json::{Value, json};

use super::cgroup::Cgroup;
use super::diagnose::diagnose;
use super::environment;
use super::http::page;
use super::wait::that;
use super::{Lab, Release, SOON, wait_until};

/// The label of every namespace of ours; its value is the test's name.
const TEST_LABEL: &str = "mbcas-test";

/// Whether pods of a namespace come to the market.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The namespace carries the label.
    Labelled,
    /// It does not.
    Unlabelled,
}

/// A test's own namespace in a cluster that MBCAS is installed in.
pub(crate) struct Space {
    pub(crate) client: Client,
    pub(crate) release: Release,
    pub(crate) name: String,
    test: String,
    siblings: Mutex<Vec<String>>,
}

/// Runs `body` in a new namespace. If it fails, prints what the cluster has to
/// say; the namespace is deleted either way, with everything in it gone.
pub(crate) fn on_cluster(test: &str, admission: Admission, body: impl AsyncFnOnce(&Space)) {
    Release::ensure();
    in_space(test, admission, body);
}

/// The same for a test that asks the API server alone, whether MBCAS is installed or not.
pub(crate) fn on_any_cluster(test: &str, body: impl AsyncFnOnce(&Space)) {
    in_space(test, Admission::Unlabelled, body);
}

fn in_space(test: &str, admission: Admission, body: impl AsyncFnOnce(&Space)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let space = Space::create(test, admission).await;
        let outcome = AssertUnwindSafe(body(&space)).catch_unwind().await;
        if outcome.is_err() {
            for name in space.names() {
                diagnose(&space.client, &name).await;
            }
        }
        delete(&space.client, &space.names()).await;
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

async fn delete(client: &Client, names: &[String]) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for name in names {
        // Already on its way out is as good.
        let _ = namespaces.delete(name, &DeleteParams::default()).await;
    }
    for name in names {
        wait_until("the namespace goes", SOON, async || {
            let found = namespaces.get_opt(name).await.unwrap();
            that(found.is_none(), format!("{name} is still there"))
        })
        .await;
    }
}

/// What an interrupted run left. Nobody else has this label.
async fn delete_leftovers(client: &Client) {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::Relaxed) {
        return;
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let ours = ListParams::default().labels(TEST_LABEL);
    let found = namespaces.list(&ours).await.unwrap();
    let names: Vec<_> = found.iter().map(ResourceExt::name_any).collect();
    delete(client, &names).await;
}

impl Space {
    async fn create(test: &str, admission: Admission) -> Self {
        let client = environment::client().await;
        delete_leftovers(&client).await;
        let mut space = Self {
            release: Release::new(client.clone()),
            client,
            name: String::new(),
            test: test.to_owned(),
            siblings: Mutex::default(),
        };
        space.name = space.namespace(admission, &[]).await;
        space
    }

    fn names(&self) -> Vec<String> {
        self.siblings.lock().unwrap().clone()
    }

    /// Another namespace of this test, with these labels besides; it is deleted with the first.
    pub(crate) async fn namespace(&self, admission: Admission, labels: &[(&str, &str)]) -> String {
        let name = format!(
            "mbcas-test-{}-{:06x}",
            self.test,
            rand::random::<u32>() >> 8
        );
        let mut all = json!({ TEST_LABEL: self.test });
        if admission == Admission::Labelled {
            all[INJECTION_LABEL] = json!(INJECTION_ENABLED);
        }
        for (key, value) in labels {
            all[*key] = json!(value);
        }
        let namespace = json!({"metadata": {"name": name, "labels": all}});
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces
            .create(
                &PostParams::default(),
                &serde_json::from_value(namespace).unwrap(),
            )
            .await
            .unwrap();
        self.siblings.lock().unwrap().push(name.clone());
        // Pods are refused until it is there.
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &name);
        wait_until("the namespace's ServiceAccount", SOON, async || {
            let found = accounts.get_opt("default").await.unwrap();
            that(found.is_some(), "there is none")
        })
        .await;
        if admission == Admission::Labelled {
            self.injects(&name).await;
        }
        name
    }

    /// The API server hears of new certificates and namespaces a moment late.
    async fn injects(&self, namespace: &str) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pod = Lab::serve("probe", &[]).request("10m").pod();
        wait_until("pods are injected", SOON, async || {
            let seen = pods.create(&dry_run(), &pod).await.unwrap();
            that(has_agent(&seen), "a pod was let through as it is")
        })
        .await;
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        self.pods_in(&self.name)
    }

    pub(crate) fn pods_in(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The API server's warnings when it is asked to create `object` at `url`; nothing is created.
    pub(crate) async fn warnings(&self, url: &str, object: &Value) -> Result<Vec<String>, String> {
        let request = http::Request::post(format!("{url}?dryRun=All"));
        let request = request.header("content-type", "application/json");
        let body = kube::client::Body::from(object.to_string().into_bytes());
        let answer = self.client.send(request.body(body).unwrap()).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("refused: {}", answer.status()));
        }
        let warnings = answer.headers().get_all("warning").iter();
        let texts = warnings.map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned());
        Ok(texts.collect())
    }

    /// Creates a pod that takes part, and waits until it is Ready.
    pub(crate) async fn start(&self, lab: &Lab) -> Pod {
        self.pods()
            .create(&PostParams::default(), &lab.pod())
            .await
            .unwrap();
        self.ready(&lab.name).await
    }

    /// The pod when it is Ready.
    pub(crate) async fn ready(&self, name: &str) -> Pod {
        wait_until("the pod is Ready", SOON, async || {
            let pod = self.pods().get(name).await.unwrap();
            if is_ready(&pod) {
                Ok(pod)
            } else {
                Err(format!("pod {name}: {:?}", phase(&pod)))
            }
        })
        .await
    }

    /// What the Event of this `reason` about `name` says, when there is one in `namespace`.
    pub(crate) async fn event(
        &self,
        namespace: &str,
        name: &str,
        reason: &str,
        deadline: Duration,
    ) -> String {
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        wait_until("an Event", deadline, async || {
            let found = events.list(&ListParams::default()).await.unwrap().items;
            let ours = found.into_iter().find(|event| {
                let about = event.regarding.as_ref();
                let about = about.and_then(|about| about.name.as_deref());
                event.reason.as_deref() == Some(reason) && about == Some(name)
            });
            let note = ours.and_then(|event| event.note);
            note.ok_or_else(|| format!("no {reason} on {name}"))
        })
        .await
    }

    /// The pod as it is now.
    pub(crate) async fn pod(&self, name: &str) -> Pod {
        self.pods().get(name).await.unwrap()
    }

    /// What the agent at `address` says about the container `app` of the pod `name`, read as strictly as
    /// the controller does.
    pub(crate) async fn report(&self, name: &str, address: &str) -> Result<DemandReport, String> {
        let body = page(&format!("{address}:{AGENT_PORT}"), "/demand").await?;
        let report = DemandReport::parse(body.as_bytes(), &self.name, name, "app");
        report
            .map(|(report, _)| report)
            .map_err(|why| format!("{why}: {body}"))
    }

    /// Waits until the container `app` runs with a limit that `fits`, in
    /// millicores, and the kernel's quota is the same; gives the limit.
    pub(crate) async fn limit(
        &self,
        name: &str,
        deadline: Duration,
        fits: impl Fn(u64) -> bool,
    ) -> u64 {
        wait_until("the limit, in status and kernel", deadline, async || {
            let pod = self.pod(name).await;
            let limit = limit_of(&pod).ok_or("the status shows no limit")?;
            let quota = cgroup(&pod, "app").and_then(|cgroup| cgroup.quota());
            that(
                fits(limit) && quota == Some(limit),
                format!("pod {name}: limit {limit}m, quota {quota:?}m"),
            )?;
            Ok(limit)
        })
        .await
    }
}

/// A creation that is admitted or refused, and then forgotten.
pub(crate) fn dry_run() -> PostParams {
    PostParams {
        dry_run: true,
        ..PostParams::default()
    }
}

pub(crate) fn has_agent(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref().unwrap();
    let mut inits = spec.init_containers.iter().flatten();
    inits.any(|container| container.name == AGENT_CONTAINER)
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let mut conditions = status
        .and_then(|s| s.conditions.as_ref())
        .into_iter()
        .flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

pub(crate) fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

pub(crate) fn ip(pod: &Pod) -> String {
    pod.status.as_ref().unwrap().pod_ip.clone().unwrap()
}

/// The status of a container, sidecars included.
pub(crate) fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let inits = status.init_container_statuses.iter().flatten();
    let mut all = inits.chain(status.container_statuses.iter().flatten());
    all.find(|container| container.name == name)
}

pub(crate) fn cgroup(pod: &Pod, name: &str) -> Option<Cgroup> {
    Cgroup::of(container(pod, name)?.container_id.as_deref()?)
}

/// How often the container `app` was restarted.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    container(pod, "app").unwrap().restart_count
}

/// The CPU limit that the container `app` runs with, in millicores.
pub(crate) fn limit_of(pod: &Pod) -> Option<u64> {
    let limits = container(pod, "app")?.resources.as_ref()?.limits.as_ref()?;
    Some(millicores(&limits.get("cpu")?.0))
}

pub(crate) fn millicores(quantity: &str) -> u64 {
    Quantity::parse(quantity).unwrap().as_cpu().unwrap().get()
}
