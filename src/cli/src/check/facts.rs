//! What the cluster says about itself. Nothing here is judged.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::Client;
use kube::api::{Api, ListParams, PostParams};
use mbcas_actuator::{Support, support};
use mbcas_api::names::{
    CONTROLLER_DEPLOYMENT, CONTROLLER_LEASE, INJECTION_ANNOTATION, INJECTION_ENABLED,
    INJECTION_LABEL, WEBHOOK_CONFIGURATION, WEBHOOK_DEPLOYMENT,
};
use mbcas_api::{NotParticipant, Participation};
use mbcas_core::annotations::ENABLED;

use crate::output;

/// A fact, or why it is not known.
pub type Known<T> = Result<T, String>;

/// Where MBCAS is looked for when its webhook configuration does not say.
pub const USUAL_NAMESPACE: &str = "mbcas-system";

/// Objects per answer of the API server.
const PAGE: u32 = 500;

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
    }
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

/// The namespaces and pods that take part, or mean to.
#[derive(Clone, Debug)]
pub struct ParticipationFacts {
    /// The namespaces with our label, whatever its value.
    pub namespaces: Known<Vec<NamespaceFacts>>,
    /// The pods of labelled namespaces, and pods elsewhere that mean to take part.
    pub pods: Known<Vec<PodFacts>>,
}

/// A namespace with MBCAS's label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceFacts {
    /// Its name.
    pub name: String,
    /// The label's value.
    pub label: String,
}

/// A pod, as far as taking part is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub standing: Standing,
}

/// Where a pod stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes part, with an agent or without.
    Participant {
        /// It carries a demand agent.
        has_agent: bool,
    },
    /// It lives in a labelled namespace and does not take part.
    LeftOut(NotParticipant),
    /// Admission looked at it and left it out, for the reason that this word stands for.
    Skipped(String),
    /// It says `mbcas.enabled: "true"` where nothing takes part.
    Unheard,
}

/// Asks for namespaces and pods; of one namespace if one was named, else of all.
pub async fn participation(client: &Client, scope: Option<&str>) -> ParticipationFacts {
    let namespaces = known(namespaces(client, scope).await);
    let labelled: BTreeSet<String> = namespaces
        .iter()
        .flatten()
        .filter(|namespace| namespace.label == INJECTION_ENABLED)
        .map(|namespace| namespace.name.clone())
        .collect();
    ParticipationFacts {
        pods: known(pods(client, scope, &labelled).await),
        namespaces,
    }
}

async fn namespaces(
    client: &Client,
    scope: Option<&str>,
) -> Result<Vec<NamespaceFacts>, kube::Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let found = match scope {
        Some(name) => vec![namespaces.get(name).await?],
        None => {
            namespaces
                .list(&ListParams::default().labels(INJECTION_LABEL))
                .await?
                .items
        }
    };
    let facts = found.into_iter().filter_map(|namespace| {
        let label = namespace
            .metadata
            .labels
            .and_then(|mut l| l.remove(INJECTION_LABEL))?;
        Some(NamespaceFacts {
            name: namespace.metadata.name?,
            label,
        })
    });
    Ok(facts.collect())
}

async fn pods(
    client: &Client,
    scope: Option<&str>,
    labelled: &BTreeSet<String>,
) -> Result<Vec<PodFacts>, kube::Error> {
    let api: Api<Pod> = match scope {
        Some(name) => Api::namespaced(client.clone(), name),
        None => Api::all(client.clone()),
    };
    let mut facts = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api.list(&params).await?;
        facts.extend(page.items.iter().filter_map(|pod| pod_facts(pod, labelled)));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(facts),
        }
    }
}

/// What matters of `pod`; nothing where it neither takes part nor means to.
pub fn pod_facts(pod: &Pod, labelled: &BTreeSet<String>) -> Option<PodFacts> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let annotations = pod.metadata.annotations.as_ref();
    let standing = if labelled.contains(&namespace) {
        match Participation::of(pod) {
            Ok(participation) => Standing::Participant {
                has_agent: participation.has_agent,
            },
            Err(NotParticipant::NotAdmitted) => skipped(pod).map_or(
                Standing::LeftOut(NotParticipant::NotAdmitted),
                Standing::Skipped,
            ),
            Err(reason) => Standing::LeftOut(reason),
        }
    } else {
        annotations
            .and_then(|a| a.get(ENABLED))
            .filter(|value| *value == "true")?;
        Standing::Unheard
    };
    Some(PodFacts {
        namespace,
        name: pod.metadata.name.clone().unwrap_or_default(),
        standing,
    })
}

/// Why a restart would not get this pod admitted: the word that admission left on
/// it, or what admission passes over without a word.
fn skipped(pod: &Pod) -> Option<String> {
    let annotation = |key| pod.metadata.annotations.as_ref()?.get(key);
    let word = annotation(INJECTION_ANNOTATION).filter(|word| *word != "injected");
    let silent = if annotation("kubernetes.io/config.mirror").is_some() {
        Some("static_pod")
    } else {
        let class = pod.status.as_ref().and_then(|s| s.qos_class.as_deref());
        class
            .filter(|class| *class == "BestEffort")
            .map(|_| "best_effort")
    };
    word.cloned().or_else(|| silent.map(str::to_owned))
}

fn known<T>(answer: Result<T, kube::Error>) -> Known<T> {
    answer.map_err(|error| output::words(&error))
}
