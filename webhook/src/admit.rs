//! A pod in, a verdict out.

use std::collections::BTreeMap;

use json_patch::Patch;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use mbcas_api::names::{INJECTION_ANNOTATION, ORIGINAL_ANNOTATION};
use mbcas_api::participant::{chosen, cpu_limit, cpu_request};
use mbcas_api::qos::Qos;
use mbcas_api::{NotParticipant, Original};
use mbcas_core::annotations::{CONTAINER, MAX_CPU, Settings};
use mbcas_core::quantity::Quantity;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::decide::{Decision, SkipReason, Subject, decide};
use crate::patch::PatchBuilder;
use crate::policy::Policy;
use crate::review::Outline;
use crate::sidecar;
use crate::submitted::{self, SubmittedCpu};

/// What is answered about one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What is done with it.
    pub decision: Decision,
    /// How; empty where nothing changes.
    pub patch: Patch,
    /// What its author is told, each at most 256 characters.
    pub warnings: Vec<String>,
}

/// A review whose object cannot be dealt with.
#[derive(Debug, Error)]
pub enum PodError {
    /// It does not have a pod's shape.
    #[error("the review's object is not a pod: {0}")]
    Shape(#[from] serde_json::Error),
    /// It has no spec.
    #[error("the review's object is not a pod: it has no spec")]
    NoSpec,
}

impl Verdict {
    fn nothing(decision: Decision) -> Self {
        Self {
            decision,
            patch: Patch(Vec::new()),
            warnings: Vec::new(),
        }
    }

    /// The verdict about what is not the creation of a pod: let through, untouched.
    pub fn not_a_pod_creation() -> Self {
        Self::nothing(Decision::Skip(SkipReason::NotAPodCreation))
    }
}

/// Judges the creation of `pod`, which lives in a labelled namespace.
///
/// Validation comes first: a malformed annotation is refused on every pod, also
/// on one that would be skipped. Applied to its own result it changes nothing.
///
/// # Errors
/// [`PodError`] where `pod` is no pod; the API server never sends that.
pub fn admit(pod: &Value, policy: &Policy) -> Result<Verdict, PodError> {
    let Outline(pod) = Outline::deserialize(pod)?;
    judge(&pod, policy)
}

/// As [`admit`], of a pod that was read already: the whole of it, or its [`Outline`].
///
/// # Errors
/// [`PodError::NoSpec`].
pub fn judge(pod: &Pod, policy: &Policy) -> Result<Verdict, PodError> {
    let spec = pod.spec.as_ref().ok_or(PodError::NoSpec)?;
    let empty = BTreeMap::new();
    let annotations = pod.metadata.annotations.as_ref().unwrap_or(&empty);
    match validate(spec, annotations) {
        Err(faults) => Ok(Verdict::nothing(Decision::Deny(faults))),
        Ok((settings, container)) => Ok(treat(pod, spec, &settings, container, policy)),
    }
}

/// Reads the annotations and finds the container that they are about.
fn validate<'a>(
    spec: &'a PodSpec,
    annotations: &BTreeMap<String, String>,
) -> Result<(Settings, &'a Container), Vec<String>> {
    let text = |faults: Vec<_>| faults.iter().map(ToString::to_string).collect::<Vec<_>>();
    let settings = Settings::parse(annotations).map_err(text)?;
    let container = chosen(&spec.containers, &settings, annotations)
        .map_err(|why| vec![no_container(&why, spec)])?;
    let request = cpu_request(container).or_else(|| cpu_limit(container));
    settings
        .check_request(request)
        .map_err(|fault| text(vec![fault]))?;
    Ok((settings, container))
}

fn no_container(why: &NotParticipant, spec: &PodSpec) -> String {
    let name = match why {
        NotParticipant::NoSuchContainer(name) if !name.is_empty() => name,
        _ => return "the pod has no container".to_owned(),
    };
    let names: Vec<_> = spec.containers.iter().map(|c| c.name.as_str()).collect();
    format!(
        "annotation {CONTAINER}={name:?} is refused: no container of the pod has that name; its containers are {}",
        names.join(", ")
    )
}

fn treat(
    pod: &Pod,
    spec: &PodSpec,
    settings: &Settings,
    chosen: &Container,
    policy: &Policy,
) -> Verdict {
    // Our work always leaves a Burstable pod behind: beside any other class a record is forged.
    let record = Original::on(pod)
        .ok()
        .flatten()
        .filter(|_| Qos::of(spec) == Qos::Burstable);
    let cpu = SubmittedCpu::of(chosen, settings, policy, record.as_ref());
    let submitted = submitted::containers(&spec.containers, chosen, &cpu);
    let subject = Subject {
        pod,
        spec,
        settings,
        chosen,
        submitted: &submitted,
        has_request: cpu.request.is_some(),
    };
    let decision = decide(&subject, policy);
    let injects = decision == Decision::Inject;
    let takes_part = injects || matches!(&decision, Decision::Skip(reason) if reason.takes_part());
    let has_sidecar = injects || decision == Decision::Skip(SkipReason::AlreadyInjected);

    let mut patch = PatchBuilder::new(pod);
    let mut warnings = advice(&decision);
    patch.annotate(&marks(&decision, takes_part, &submitted));
    if takes_part
        && !cpu.limit_is_ours
        && let Some(limit) = missing_limit(&cpu, &subject, policy, has_sidecar)
    {
        let index = spec
            .containers
            .iter()
            .position(|container| container.name == chosen.name);
        patch.limit_cpu(index.unwrap_or_default(), &limit);
        warnings.push(limit_added(&chosen.name, &limit, settings));
    }
    if injects {
        let container = sidecar::container(policy.agent(), &chosen.name, settings.metrics.as_ref());
        patch.append_init_container(container);
        patch.append_volume(sidecar::volume());
    }
    Verdict {
        decision,
        patch: patch.build(),
        warnings,
    }
}

/// The annotations that the pod is to carry under `mbcas.dev/`.
fn marks(
    decision: &Decision,
    takes_part: bool,
    submitted: &[Container],
) -> Vec<(&'static str, String)> {
    let word = match decision {
        Decision::Inject | Decision::Skip(SkipReason::AlreadyInjected) => "injected",
        Decision::Skip(reason) if reason.is_marked() => reason.as_str(),
        _ => return Vec::new(),
    };
    let record = takes_part
        .then(|| Original::of(submitted).to_json().ok())
        .flatten();
    let record = record.map(|json| (ORIGINAL_ANNOTATION, json));
    std::iter::once((INJECTION_ANNOTATION, word.to_owned()))
        .chain(record)
        .collect()
}

/// The limit that the participating container is to get, if it has none and
/// getting one does not change the pod's QoS class. With a sidecar, whose
/// request is below its limit, it cannot.
fn missing_limit(
    cpu: &SubmittedCpu,
    subject: &Subject<'_>,
    policy: &Policy,
    has_sidecar: bool,
) -> Option<String> {
    let request = cpu.request.filter(|_| cpu.limit.is_none())?;
    let limit = Quantity::from(submitted::cap(subject.settings, policy, request)).canonical();
    if has_sidecar {
        return Some(limit);
    }
    let mut limited = subject.submitted.to_vec();
    for container in limited
        .iter_mut()
        .filter(|container| container.name == subject.chosen.name)
    {
        let limits = container
            .resources
            .get_or_insert_default()
            .limits
            .get_or_insert_default();
        limits.insert("cpu".to_owned(), Amount(limit.clone()));
    }
    let inits = subject.spec.init_containers.iter().flatten();
    (Qos::of_parts(subject.spec, inits.chain(&limited)) == Qos::Burstable).then_some(limit)
}

fn advice(decision: &Decision) -> Vec<String> {
    match decision {
        Decision::Skip(reason) => reason
            .advice()
            .map(|advice| format!("mbcas: {advice}"))
            .into_iter()
            .collect(),
        _ => Vec::new(),
    }
}

fn limit_added(container: &str, limit: &str, settings: &Settings) -> String {
    let source = if settings.max_cpu.is_some() {
        MAX_CPU
    } else {
        "the default cap; mbcas.maxCPU sets another"
    };
    format!(
        "mbcas: container {container} had no CPU limit and now has {limit} ({source}), \
         as Kubernetes resizes a limit but never removes one"
    )
}

#[cfg(test)]
mod laws;
#[cfg(test)]
pub(crate) mod tests;
