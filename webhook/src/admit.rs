//! A pod in, a verdict out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use mbcas_api::names::{INJECTION_ANNOTATION, ORIGINAL_ANNOTATION};
use mbcas_api::participant::{chosen, submitted_cpu_request};
use mbcas_api::qos::Qos;
use mbcas_api::{BUDGET_POLICY_NAME, NotParticipant, Original};
use mbcas_core::annotations::{CONTAINER, MAX_CPU, Processes, Settings};
use mbcas_core::quantity::Quantity;
use mbcas_core::units::{Budget, MilliCpu};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::allotment::Allotment;
use crate::decide::{Decision, DenyReason, SkipReason, Subject, decide};
use crate::mesh;
use crate::namespace::Namespace;
use crate::patch::{Patch, PatchBuilder};
use crate::policy::Policy;
use crate::processes;
use crate::review::{Outline, excess};
use crate::sidecar::Sidecar;
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
    /// What the pod takes of its namespace's totals; absent if it takes no part.
    pub holding: Option<Holding>,
}

/// What one pod takes of its namespace's totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holding {
    /// Its budget.
    pub budget: Budget,
    /// Its floor.
    pub floor: MilliCpu,
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
            patch: Patch::default(),
            warnings: Vec::new(),
            holding: None,
        }
    }

    fn denied(reason: DenyReason, faults: Vec<String>) -> Self {
        Self::nothing(Decision::Deny(reason, faults))
    }

    /// The verdict about what is not the creation of a pod: let through, untouched.
    pub fn not_a_pod_creation() -> Self {
        Self::nothing(Decision::Skip(SkipReason::NotAPodCreation))
    }
}

/// Judges the creation of `pod` in `namespace`, a labelled one.
///
/// Validation comes first: a malformed annotation is refused on every pod, also
/// on one that would be skipped. Applied to its own result it changes nothing.
///
/// # Errors
/// [`PodError`] where `pod` is no pod; the API server never sends that.
pub fn admit(pod: &Value, policy: &Policy, namespace: &Namespace) -> Result<Verdict, PodError> {
    let Outline(pod) = Outline::deserialize(pod)?;
    judge(&pod, policy, namespace)
}

/// As [`admit`], of a pod that was read already: the whole of it, or its [`Outline`].
///
/// # Errors
/// [`PodError::NoSpec`].
pub fn judge(pod: &Pod, policy: &Policy, namespace: &Namespace) -> Result<Verdict, PodError> {
    let spec = pod.spec.as_ref().ok_or(PodError::NoSpec)?;
    if let Some(fault) = excess(pod) {
        return Ok(Verdict::denied(DenyReason::Malformed, vec![fault]));
    }
    let empty = BTreeMap::new();
    let annotations = pod.metadata.annotations.as_ref().unwrap_or(&empty);
    let (settings, chosen) = match validate(spec, annotations) {
        Err(faults) => return Ok(Verdict::denied(DenyReason::Malformed, faults)),
        Ok(valid) => valid,
    };
    let admission = Admission {
        pod,
        spec,
        chosen,
        policy,
        namespace,
    };
    Ok(admission.treat(&settings))
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
    settings
        .check_request(submitted_cpu_request(container))
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

/// One pod on its way in.
struct Admission<'a> {
    pod: &'a Pod,
    spec: &'a PodSpec,
    chosen: &'a Container,
    policy: &'a Policy,
    namespace: &'a Namespace,
}

impl Admission<'_> {
    fn treat(&self, asked: &Settings) -> Verdict {
        // A default above the pod's own cap would make it one that is refused.
        let default = submitted::default_request(self.chosen, self.namespace)
            .map(|default| asked.max_cpu.map_or(default, |max| default.min(max)));
        let request = submitted_cpu_request(self.chosen).or(default);
        let mut allotment = Allotment::within_bounds(asked, request, self.namespace);
        let record = self.record();
        let cpu = SubmittedCpu::of(
            self.chosen,
            request,
            &allotment.settings,
            self.policy,
            record.as_ref(),
        );
        let submitted = submitted::containers(&self.spec.containers, self.chosen, &cpu, default);
        let subject = Subject {
            pod: self.pod,
            spec: self.spec,
            settings: &allotment.settings,
            namespace: self.namespace,
            chosen: self.chosen,
            submitted: &submitted,
            has_request: request.is_some(),
        };
        let agent = decide(&subject, self.policy);
        let decision = match &agent {
            Ok(_) => Decision::Inject,
            Err(reason) => Decision::Skip(*reason),
        };
        // What takes no part is bound by nothing but optOut.
        let is_bound = decision.takes_part() || asked.enabled == Some(false);
        if is_bound && !allotment.faults.is_empty() {
            return Verdict::denied(DenyReason::OverAllotment, allotment.faults);
        }
        let request = request.filter(|_| decision.takes_part());
        let has_sidecar = decision.has_sidecar();
        let limit = request
            .filter(|_| !cpu.limit_is_ours)
            .and_then(|_| missing_limit(&cpu, &subject, self.policy, has_sidecar));

        if let Some(request) = request {
            allotment = allotment.within_totals(request);
            if !allotment.faults.is_empty() {
                return Verdict::denied(DenyReason::OverAllotment, allotment.faults);
            }
        }
        let mut warnings = advice(&decision);
        let mut patch = PatchBuilder::new(self.pod);
        let mut annotations = self.marks(&decision, &submitted);
        if has_sidecar && let Some(present) = &self.pod.metadata.annotations {
            annotations.extend(mesh::exclusions(present, self.spec));
        }
        if request.is_some() {
            annotations.extend(allotment.fills());
            warnings.append(&mut allotment.warnings);
        }
        patch.annotate(&annotations);
        let settings = &allotment.settings;
        let default = default.filter(|_| request.is_some());
        if let Some(default) = default {
            warnings.push(self.request_added(default));
        }
        if let Some(limit) = &limit {
            warnings.push(limit_added(&self.chosen.name, limit, asked));
        }
        let default = default.map(|cpu| Quantity::from(cpu).canonical());
        patch.cpu(self.index(), default.as_deref(), limit.as_deref());
        if let Ok(agent) = &agent {
            let sidecar = match agent {
                Cow::Borrowed(_) => Cow::Borrowed(self.policy.sidecar()),
                Cow::Owned(fitted) => Cow::Owned(Sidecar::of(fitted)),
            };
            patch.append_init_container(&sidecar.container(&self.chosen.name, settings));
            patch.append_volume(sidecar.volume());
        }
        if settings.processes == Processes::Shared && decision.takes_part() {
            match processes::to_share(self.spec, has_sidecar) {
                Ok(true) => patch.share_processes(),
                Ok(false) => {}
                Err(obstacle) => warnings.push(obstacle.to_string()),
            }
        }
        Verdict {
            holding: request.map(|request| Holding {
                budget: settings.budget.unwrap_or_default(),
                floor: settings.floor(request),
            }),
            decision,
            patch: patch.build(),
            warnings,
        }
    }

    /// The record of an earlier look. Our work always leaves a Burstable pod
    /// behind: beside any other class it is forged.
    fn record(&self) -> Option<Original> {
        Original::on(self.pod)
            .ok()
            .flatten()
            .filter(|_| Qos::of(self.spec) == Qos::Burstable)
    }

    /// The annotations that the pod is to carry under `mbcas.dev/`.
    fn marks(&self, decision: &Decision, submitted: &[Container]) -> Vec<(&'static str, String)> {
        let word = match decision {
            decision if decision.has_sidecar() => "injected",
            Decision::Skip(reason) if reason.is_marked() => reason.as_str(),
            _ => return Vec::new(),
        };
        let record = decision
            .takes_part()
            .then(|| Original::of(submitted, &self.chosen.name).to_json().ok())
            .flatten();
        let record = record.map(|json| (ORIGINAL_ANNOTATION, json));
        std::iter::once((INJECTION_ANNOTATION, word.to_owned()))
            .chain(record)
            .collect()
    }

    fn index(&self) -> usize {
        let mut containers = self.spec.containers.iter();
        containers
            .position(|container| container.name == self.chosen.name)
            .unwrap_or_default()
    }

    fn request_added(&self, default: MilliCpu) -> String {
        let class = if Qos::of(self.spec) == Qos::BestEffort {
            ", which makes the pod Burstable instead of BestEffort"
        } else {
            ""
        };
        format!(
            "mbcas: container {} had no CPU request and now has {default} (BudgetPolicy {}/{BUDGET_POLICY_NAME}){class}",
            self.chosen.name, self.namespace.name
        )
    }
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
            .map(|advice| format!("mbcas: {advice} ({})", reason.as_str()))
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
