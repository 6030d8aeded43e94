//! What the cluster says about itself. Nothing here is judged.

mod pods;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{LimitRange, Node, ResourceQuota};
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};
use mbcas_actuator::{Support, support};
use mbcas_api::names::{
    CONTROLLER_DEPLOYMENT, CONTROLLER_LEASE, WEBHOOK_CONFIGURATION, WEBHOOK_DEPLOYMENT,
};
use mbcas_webhook::namespace::Rules;
use mbcas_webhook::room::Quota;

use crate::connect::objects;
use crate::output;

pub use pods::{NamespaceFacts, ParticipationFacts, PodFacts, Standing, participation, pod_facts};

/// A fact, or why it is not known.
pub type Known<T> = Result<T, String>;

/// Where MBCAS is looked for when its webhook configuration does not say.
pub const USUAL_NAMESPACE: &str = "mbcas-system";

/// What must hold before MBCAS is installed.
#[derive(Clone, Debug)]
pub struct ClusterFacts {
    /// The API server's version.
    pub version: Known<Version>,
    /// Whether it serves `pods/resize`.
    pub support: Known<Support>,
    /// Whether we may resize pods: in one namespace if one was named, else in all.
    pub permission: Known<Permission>,
    /// The nodes.
    pub nodes: Known<Vec<NodeFacts>>,
    /// What namespaces' LimitRanges and ResourceQuotas leave, by namespace: of the one that was
    /// named, else of all that have any.
    pub rules: Known<BTreeMap<String, Rules>>,
}

/// A Kubernetes version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The first two numbers, if they could be read.
    pub number: Option<(u32, u32)>,
    /// As it was given.
    pub text: String,
}

impl Version {
    /// Reads `v1.33.1+k3s`, and `1.33` likewise.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.trim_start_matches('v').split(['.', '+', '-']);
        let mut number = || parts.next()?.parse::<u32>().ok();
        Self {
            number: number().zip(number()),
            text: text.to_owned(),
        }
    }
}

/// What the API server says about our permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// We may.
    pub allowed: bool,
    /// The namespace that was asked about; absent: all of them.
    pub namespace: Option<String>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Its kubelet's version.
    pub kubelet: Version,
    /// Its operating system, as the kubelet names it.
    pub os: String,
    /// It is ready.
    pub ready: bool,
}

/// Asks what must hold before MBCAS is installed.
pub async fn cluster(client: &Client, namespace: Option<&str>) -> ClusterFacts {
    let version = client.apiserver_version().await;
    let nodes = Api::<Node>::all(client.clone())
        .list(&ListParams::default())
        .await;
    ClusterFacts {
        version: known(version.map(|info| Version::parse(&info.git_version))),
        support: known(support(client).await),
        permission: known(permission(client, namespace).await),
        nodes: known(nodes.map(|list| list.items.iter().map(node).collect())),
        rules: known(rules(client, namespace).await),
    }
}

async fn rules(
    client: &Client,
    namespace: Option<&str>,
) -> Result<BTreeMap<String, Rules>, kube::Error> {
    let all = ListParams::default();
    let ranges = objects::<LimitRange>(client, namespace).list(&all).await?;
    let quotas = objects::<ResourceQuota>(client, namespace)
        .list(&all)
        .await?;
    let mut rules: BTreeMap<String, Rules> = BTreeMap::new();
    for range in ranges {
        let of = rules.entry(range.namespace().unwrap_or_default());
        let limits = range.spec.into_iter().flat_map(|spec| spec.limits);
        of.or_default().limit_ranges.extend(limits);
    }
    for quota in quotas {
        let of = rules.entry(quota.namespace().unwrap_or_default());
        of.or_default().quotas.extend(Quota::of(&quota));
    }
    Ok(rules)
}

async fn permission(client: &Client, namespace: Option<&str>) -> Result<Permission, kube::Error> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: Some("patch".to_owned()),
                resource: Some("pods".to_owned()),
                subresource: Some("resize".to_owned()),
                namespace: namespace.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(Permission {
        allowed: answer.status.is_some_and(|status| status.allowed),
        namespace: namespace.map(str::to_owned),
    })
}

fn node(node: &Node) -> NodeFacts {
    let status = node.status.as_ref();
    let info = status.and_then(|s| s.node_info.as_ref());
    let conditions = status
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or_default();
    NodeFacts {
        name: node.metadata.name.clone().unwrap_or_default(),
        kubelet: Version::parse(info.map_or("", |i| &i.kubelet_version)),
        os: info.map(|i| i.operating_system.clone()).unwrap_or_default(),
        ready: conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "True"),
    }
}

/// The parts of MBCAS that the chart installs.
#[derive(Clone, Debug)]
pub struct InstallationFacts {
    /// Where it is installed, or was looked for.
    pub namespace: String,
    /// Whether the webhook's configuration has a CA bundle; absent: there is none.
    pub webhook: Known<Option<bool>>,
    /// The webhook's Deployment; absent: there is none.
    pub webhook_deployment: Known<Option<DeploymentFacts>>,
    /// The controller's Deployment; absent: there is none.
    pub controller_deployment: Known<Option<DeploymentFacts>>,
    /// The controller's Lease; absent: there is none.
    pub lease: Known<Option<LeaseFacts>>,
}

/// How many replicas a Deployment has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeploymentFacts {
    /// Wanted.
    pub wanted: i32,
    /// Available.
    pub available: i32,
}

/// Who holds a Lease, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseFacts {
    /// The holder; empty: nobody.
    pub holder: String,
    /// It is valid until then, unless it is renewed.
    pub until: Option<Timestamp>,
}

/// Asks for the parts that the chart installs.
pub async fn installation(client: &Client) -> InstallationFacts {
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let configuration = known(configurations.get_opt(WEBHOOK_CONFIGURATION).await);
    let first = |c: &MutatingWebhookConfiguration| {
        Some(c.webhooks.as_ref()?.first()?.client_config.clone())
    };
    let namespace = configuration
        .as_ref()
        .ok()
        .and_then(Option::as_ref)
        .and_then(first);
    let namespace = namespace.and_then(|config| Some(config.service?.namespace));
    let namespace = namespace.unwrap_or_else(|| USUAL_NAMESPACE.to_owned());
    let has_bundle = |c: &MutatingWebhookConfiguration| {
        first(c)
            .and_then(|config| config.ca_bundle)
            .is_some_and(|bundle| !bundle.0.is_empty())
    };
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let deployment =
        async |name| known(deployments.get_opt(name).await).map(|d| d.map(|d| replicas(&d)));
    let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
    InstallationFacts {
        webhook: configuration.map(|found| found.as_ref().map(has_bundle)),
        webhook_deployment: deployment(WEBHOOK_DEPLOYMENT).await,
        controller_deployment: deployment(CONTROLLER_DEPLOYMENT).await,
        lease: known(leases.get_opt(CONTROLLER_LEASE).await).map(|lease| lease.map(|l| holder(&l))),
        namespace,
    }
}

fn replicas(deployment: &Deployment) -> DeploymentFacts {
    DeploymentFacts {
        wanted: deployment
            .spec
            .as_ref()
            .and_then(|s| s.replicas)
            .unwrap_or(1),
        available: deployment
            .status
            .as_ref()
            .and_then(|s| s.available_replicas)
            .unwrap_or(0),
    }
}

fn holder(lease: &Lease) -> LeaseFacts {
    let spec = lease.spec.clone().unwrap_or_default();
    let length = jiff::SignedDuration::from_secs(spec.lease_duration_seconds.unwrap_or(0).into());
    LeaseFacts {
        holder: spec.holder_identity.unwrap_or_default(),
        until: spec
            .renew_time
            .and_then(|renewed| renewed.0.checked_add(length).ok()),
    }
}

fn known<T>(answer: Result<T, kube::Error>) -> Known<T> {
    answer.map_err(|error| output::words(&error))
}
