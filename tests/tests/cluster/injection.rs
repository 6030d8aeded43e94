//! A Deployment of a labelled namespace comes to the market.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams};
use mbcas_api::Original;
use mbcas_api::names::{AGENT_CONTAINER, INJECTION_ANNOTATION};

use crate::support::space::{cgroup, dry_run, is_ready};
use crate::support::{Admission, Lab, SOON, Space, on_cluster, wait_until};

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
