//! Leaving: pods run on with what they had before, and nothing of MBCAS is left.
//!
//! Last by name, so that nothing has to be installed again after it.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    ValidatingWebhookConfiguration,
};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, ResourceQuota, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use mbcas_api::names::{CA_SECRET, CONTROLLER_LEASE, WEBHOOK_CONFIGURATION};
use serde::de::DeserializeOwned;

use crate::support::release::NAMESPACE;
use crate::support::space::{cgroup, has_agent, limit_of, millicores, restarts};
use crate::support::wait::that;
use crate::support::{Admission, Lab, Release, SOON, Space, on_cluster, wait_until};

/// For half a minute nobody who has just started is held; then it takes windows of the kubelet's, and a write
/// the other way may have to wait for a minute.
const HELD: Duration = Duration::from_mins(3);

#[test]
fn after_an_uninstall_pods_run_on_as_their_owners_wrote_them() {
    on_cluster("uninstall", Admission::Labelled, async |space| {
        space.start(&Lab::bystander()).await;
        // Of two that want the node, the one with the smaller budget is held.
        let limited = Lab::burn("limited", 2).request("100m").limit("250m");
        let limited = limited.annotate("mbcas.budget", "300");
        let unlimited = Lab::burn("unlimited", 2).request("100m");
        let before = [space.start(&limited).await, space.start(&unlimited).await];
        space.limit("limited", SOON, |limit| limit != 250).await;
        let whole = allocatable(space).await;
        space.limit("unlimited", HELD, |limit| limit < whole).await;

        Release::uninstall();

        space.limit("limited", SOON, |limit| limit == 250).await;
        space.limit("unlimited", SOON, |limit| limit == whole).await;
        for pod in before {
            let after = space.pod(&pod.name_any()).await;
            assert_eq!(
                after.metadata.uid,
                pod.metadata.uid,
                "{} was replaced",
                pod.name_any()
            );
            assert_eq!(restarts(&after), 0, "{} was restarted", pod.name_any());
        }
        nothing_is_left(space).await;
        a_new_pod_is_nobodys_business(space).await;
    });
}

/// What stands in for a limit that was absent and cannot be removed.
async fn allocatable(space: &Space) -> u64 {
    let pod = space.pod("unlimited").await;
    let nodes: Api<Node> = Api::all(space.client.clone());
    let node = nodes
        .get(pod.spec.unwrap().node_name.as_deref().unwrap())
        .await
        .unwrap();
    millicores(&node.status.unwrap().allocatable.unwrap()["cpu"].0)
}

async fn nothing_is_left(space: &Space) {
    let client = || space.client.clone();
    let of_ours = ["mbcas", "mbcas-"];
    let names = async |found: Result<Vec<String>, kube::Error>| -> Vec<String> {
        let found = found.unwrap().into_iter();
        found
            .filter(|name| {
                name == WEBHOOK_CONFIGURATION || of_ours.iter().any(|ours| name.starts_with(ours))
            })
            .collect()
    };
    // What the running webhook and controller made goes when its owner has gone, by the cluster's own collector.
    wait_until("nothing is left", SOON, async || {
        let left = [
            names(all::<MutatingWebhookConfiguration>(&Api::all(client())).await).await,
            names(all::<ValidatingWebhookConfiguration>(&Api::all(client())).await).await,
            names(all::<ValidatingAdmissionPolicy>(&Api::all(client())).await).await,
            names(all::<ValidatingAdmissionPolicyBinding>(&Api::all(client())).await).await,
            names(mutating(&client(), "MutatingAdmissionPolicy").await).await,
            names(mutating(&client(), "MutatingAdmissionPolicyBinding").await).await,
            names(all::<ClusterRole>(&Api::all(client())).await).await,
            names(all::<ClusterRoleBinding>(&Api::all(client())).await).await,
            names(all::<Role>(&Api::namespaced(client(), NAMESPACE)).await).await,
            names(all::<RoleBinding>(&Api::namespaced(client(), NAMESPACE)).await).await,
            names(all::<ServiceAccount>(&Api::namespaced(client(), NAMESPACE)).await).await,
            names(all::<Secret>(&Api::namespaced(client(), NAMESPACE)).await).await,
            names(all::<Service>(&Api::namespaced(client(), NAMESPACE)).await).await,
            names(all::<CronJob>(&Api::namespaced(client(), NAMESPACE)).await).await,
            names(all::<ResourceQuota>(&Api::namespaced(client(), NAMESPACE)).await).await,
            names(all::<PodDisruptionBudget>(&Api::namespaced(client(), NAMESPACE)).await).await,
            names(all::<Lease>(&Api::namespaced(client(), NAMESPACE)).await).await,
            names(all::<Pod>(&Api::namespaced(client(), NAMESPACE)).await).await,
        ]
        .concat();
        that(left.is_empty(), format!("{left:?}"))
    })
    .await;
    // By their own names too, in case they are renamed and the prefix with them.
    let secrets: Api<Secret> = Api::namespaced(client(), NAMESPACE);
    assert!(secrets.get_opt(CA_SECRET).await.unwrap().is_none());
    let leases: Api<Lease> = Api::namespaced(client(), NAMESPACE);
    assert!(leases.get_opt(CONTROLLER_LEASE).await.unwrap().is_none());
}

/// Kinds of later versions than the client's own.
async fn mutating(client: &Client, kind: &str) -> Result<Vec<String>, kube::Error> {
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
    let resource = ApiResource::from_gvk(&kind);
    all(&Api::<DynamicObject>::all_with(client.clone(), &resource)).await
}

async fn all<K>(objects: &Api<K>) -> Result<Vec<String>, kube::Error>
where
    K: kube::Resource + Clone + std::fmt::Debug + DeserializeOwned,
{
    let found = objects.list(&ListParams::default()).await?;
    Ok(found.iter().map(ResourceExt::name_any).collect())
}

async fn a_new_pod_is_nobodys_business(space: &Space) {
    let lab = Lab::serve("newcomer", &[])
        .request("50m")
        .annotate("mbcas.budget", "lots");
    let submitted = lab.bare_pod();
    space
        .pods()
        .create(&PostParams::default(), &submitted)
        .await
        .unwrap();
    let pod = space.ready("newcomer").await;
    assert!(!has_agent(&pod));
    let resources = |pod: &Pod| pod.spec.as_ref().unwrap().containers[0].resources.clone();
    assert_eq!(resources(&pod), resources(&submitted));
    assert_eq!(limit_of(&pod), None);
    assert_eq!(cgroup(&pod, "app").unwrap().quota(), None);
}
