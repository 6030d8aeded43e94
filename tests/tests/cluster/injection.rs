//! A Deployment of a labelled namespace comes to the market.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, ListParams, LogParams, PostParams};
use mbcas_api::Original;
use mbcas_api::names::{AGENT_CONTAINER, INJECTION_ANNOTATION};
use mbcas_core::exposition::samples;
use serde_json::json;

use crate::support::release::admin_address;
use crate::support::space::{cgroup, dry_run, is_ready};
use crate::support::wait::that;
use crate::support::{Admission, Lab, SOON, Space, http, on_cluster, wait_until};

const TOKEN: &str = "var/run/secrets/kubernetes.io/serviceaccount";

#[test]
fn a_restricted_namespace_runs_injected_pods_that_hold_no_token() {
    on_cluster("injection", Admission::Labelled, async |space| {
        let restricted = [("pod-security.kubernetes.io/enforce", "restricted")];
        let namespace = space.namespace(Admission::Labelled, &restricted).await;
        let lab = Lab::serve("web", &[])
            .request("50m")
            .annotate("mbcas.budget", "300");
        let pod = ready_pod_of(space, &namespace, &lab).await;

        the_sidecar_is_last_and_native(&pod);
        the_sidecar_sees_no_token(&pod);
        the_owners_words_are_recorded(&pod);
        assert_eq!(
            qos(&pod),
            bare_qos(space, &lab).await,
            "the pod's QoS class changed"
        );
    });
}

/// Deploys `lab`, and gives its pod when it is Ready.
async fn ready_pod_of(space: &Space, namespace: &str, lab: &Lab) -> Pod {
    let deployments: Api<Deployment> = Api::namespaced(space.client.clone(), namespace);
    deployments
        .create(&PostParams::default(), &lab.deployment())
        .await
        .unwrap();
    wait_until("the Deployment's pod is Ready", SOON, async || {
        let pods = space
            .pods_in(namespace)
            .list(&ListParams::default())
            .await
            .unwrap();
        let pod = pods.items.into_iter().find(is_ready);
        pod.ok_or_else(|| "none is".to_owned())
    })
    .await
}

fn the_sidecar_is_last_and_native(pod: &Pod) {
    let inits = pod.spec.as_ref().unwrap().init_containers.as_ref().unwrap();
    let last = inits.last().unwrap();
    assert_eq!(last.name, AGENT_CONTAINER);
    assert_eq!(last.restart_policy.as_deref(), Some("Always"));
    assert_eq!(
        pod.annotations()
            .get(INJECTION_ANNOTATION)
            .map(String::as_str),
        Some("injected")
    );
}

/// Neither by what the API server made of the pod, nor by what is in the container.
fn the_sidecar_sees_no_token(pod: &Pod) {
    let spec = pod.spec.as_ref().unwrap();
    let sidecar = spec.init_containers.as_ref().unwrap().last().unwrap();
    let with_token: Vec<_> = spec
        .volumes
        .iter()
        .flatten()
        .filter(|volume| volume.projected.is_some() || volume.secret.is_some())
        .map(|volume| &volume.name)
        .collect();
    assert!(
        !with_token.is_empty(),
        "the API server gave the pod no token at all, so this shows nothing"
    );
    let mounts: Vec<_> = sidecar
        .volume_mounts
        .iter()
        .flatten()
        .map(|m| &m.name)
        .collect();
    assert!(
        mounts.iter().all(|name| !with_token.contains(name)),
        "the sidecar mounts {mounts:?}, the token is in {with_token:?}"
    );
    let process = cgroup(pod, AGENT_CONTAINER).unwrap().processes()[0];
    let inside = std::fs::read_dir(format!("/proc/{process}/root/{TOKEN}")).unwrap();
    let files: Vec<_> = inside.map(|entry| entry.unwrap().file_name()).collect();
    assert!(files.is_empty(), "the sidecar sees {files:?}");
    let app = cgroup(pod, "app").unwrap().processes()[0];
    assert!(
        std::fs::exists(format!("/proc/{app}/root/{TOKEN}/token")).unwrap(),
        "the app lost its token"
    );
}

fn the_owners_words_are_recorded(pod: &Pod) {
    let original = Original::on(pod).unwrap().expect("no record on the pod");
    let app = &original.containers["app"];
    assert_eq!(
        (app.request.as_deref(), app.limit.as_deref()),
        (Some("50m"), None)
    );
}

fn qos(pod: &Pod) -> Option<String> {
    pod.status.as_ref()?.qos_class.clone()
}

/// The class that the same pod has where MBCAS is not asked.
async fn bare_qos(space: &Space, lab: &Lab) -> Option<String> {
    let elsewhere = space.namespace(Admission::Unlabelled, &[]).await;
    let pod = space
        .pods_in(&elsewhere)
        .create(&dry_run(), &lab.bare_pod())
        .await
        .unwrap();
    qos(&pod)
}

/// Every replica's pod of the webhook.
async fn replicas(space: &Space) -> Vec<Pod> {
    let selector = ListParams::default().labels("app.kubernetes.io/component=webhook");
    space.release.pods().list(&selector).await.unwrap().items
}

#[test]
fn one_word_says_why_in_warning_event_metric_and_log() {
    const WORD: &str = "best_effort";
    on_cluster("reasons", Admission::Labelled, async |space| {
        let lab = Lab::serve("idle", &[]);
        let url = format!("/api/v1/namespaces/{}/pods", space.name);
        let mut pod = serde_json::to_value(lab.pod()).unwrap();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        let warnings = space.warnings(&url, &pod).await.unwrap();
        let said = warnings
            .iter()
            .any(|text| text.contains(&format!("({WORD})")));
        assert!(said, "{warnings:?}");
        let events: Api<Event> = Api::namespaced(space.client.clone(), &space.name);
        let found = events.list(&ListParams::default()).await.unwrap();
        assert!(found.items.is_empty(), "a dry run left {found:?}");

        let deployments: Api<Deployment> = Api::namespaced(space.client.clone(), &space.name);
        let deployment = lab.deployment();
        let create = PostParams::default();
        deployments.create(&create, &deployment).await.unwrap();
        wait_until("the event", SOON, async || {
            let found = events.list(&ListParams::default()).await.unwrap();
            let ours = found.items.iter();
            let mut ours = ours.filter(|event| event.reason.as_deref() == Some("NotInjected"));
            let event = ours.next().ok_or("there is none")?;
            let owner = event.regarding.as_ref().and_then(|it| it.kind.as_deref());
            let note = event.note.clone().unwrap_or_default();
            that(
                owner == Some("ReplicaSet") && note.starts_with(&format!("{WORD}: ")),
                format!("{owner:?}: {note}"),
            )
        })
        .await;
        let (mut counted, mut logged) = (0.0, false);
        for replica in replicas(space).await {
            let page = http::page(&admin_address(&replica).unwrap(), "/metrics").await;
            let page = page.unwrap();
            let samples = samples(&page, "mbcas_admission_requests_total");
            let ours = samples.filter(|sample| {
                sample.label("reason") == Some(WORD) && sample.label("decision") == Some("skip")
            });
            counted += ours.map(|sample| sample.value).sum::<f64>();
            let pods = space.release.pods();
            let log = pods.logs(&replica.name_any(), &LogParams::default()).await;
            let log = log.unwrap();
            logged |= log
                .lines()
                .any(|line| line.contains(&space.name) && line.contains(WORD));
        }
        assert!(
            counted >= 2.0 && logged,
            "{counted} counted, logged: {logged}"
        );
    });
}
