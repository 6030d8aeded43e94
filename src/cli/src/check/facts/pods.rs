//! What namespaces and pods say about taking part.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Client;
use kube::api::{Api, ListParams};
use mbcas_api::names::{INJECTION_ANNOTATION, INJECTION_ENABLED, INJECTION_LABEL};
use mbcas_api::{NotParticipant, Participation};
use mbcas_core::annotations::ENABLED;

use super::{Known, known};
use crate::connect;

/// Objects per answer of the API server.
const PAGE: u32 = 500;

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
    let api: Api<Pod> = connect::objects(client, scope);
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
