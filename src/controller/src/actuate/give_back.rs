//! Giving pods back what they had before the market: see [`crate::leaving`].

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use mbcas_actuator::restore::{decide_own, has_ended};
use mbcas_actuator::{ApplyError, Gate, Refusal, resize_through};
use mbcas_api::names::FIELD_MANAGER;
use mbcas_core::PodId;
use mbcas_core::units::MilliCpu;
use mbcas_market::decision::Turn;
use tokio::time::{Instant, timeout};

use super::{Actuator, Cycle};
use crate::cluster::View;
use crate::lease::fence::{Fenced, fenced};
use crate::leaving::{GivenBack, Leaver, LetGo};

/// How many pods are given back theirs at a time.
const IN_FLIGHT: usize = 8;

/// How long reading one may take: the next cycle waits for it.
const ANSWER: Duration = Duration::from_secs(4);

impl Actuator {
    /// Gives the pods in `due` back what they had, in the term `epoch`. What a limit is raised to that was
    /// absent is what the pod's node has.
    pub async fn give_back(
        &self,
        due: Vec<(PodId, LetGo)>,
        view: &View,
        epoch: i32,
    ) -> Vec<Leaver> {
        if due.is_empty() {
            return Vec::new();
        }
        let nodes = view.nodes.values();
        let allocatable = nodes.map(|node| (node.name.clone(), node.allocatable));
        let allocatable: BTreeMap<_, _> = allocatable.collect();
        let cycle = Cycle {
            hand: self,
            client: fenced(&self.client, &self.leader, epoch),
            epoch,
            turn: Turn::Cycle,
            deadline: Instant::now() + self.fresh,
            pod_level: true,
            started: &|_| None,
        };
        let (cycle, allocatable) = (&cycle, &allocatable);
        let each = due.into_iter().map(|(pod, by)| async move {
            let (outcome, words) = cycle.give_back(&pod, allocatable).await;
            if outcome != GivenBack::AsBefore {
                tracing::info!(pod = %format!("{}/{}", pod.namespace, pod.name), by = by.word(),
                    outcome = outcome.word(), %words, "Let go");
            }
            Leaver {
                pod,
                by,
                outcome,
                words,
            }
        });
        let each: Vec<_> = each.map(FutureExt::boxed).collect();
        let each = futures::stream::iter(each).buffer_unordered(IN_FLIGHT);
        each.collect().await
    }
}

impl Cycle<'_> {
    /// What becomes of one pod. What of it another has set is left to him, and the rest is given back.
    async fn give_back(
        &self,
        id: &PodId,
        allocatable: &BTreeMap<String, MilliCpu>,
    ) -> (GivenBack, String) {
        if !self.is_open() || Instant::now() >= self.deadline {
            return (GivenBack::NotReached, String::new());
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &id.namespace);
        let pod = match timeout(ANSWER, pods.get_opt(&id.name)).await {
            Ok(Ok(pod)) => pod.filter(|pod| pod.metadata.uid.as_ref() == Some(&id.uid)),
            Ok(Err(error)) => return (GivenBack::Failed, error.to_string()),
            Err(late) => return (GivenBack::Failed, format!("reading it: {late}")),
        };
        let Some(pod) = pod.filter(|pod| !has_ended(pod)) else {
            return (GivenBack::NotOurs, "it has ended".to_owned());
        };
        let steps = match decide_own(&pod, allocatable, FIELD_MANAGER) {
            Ok(steps) => steps,
            Err(obstacle) => return (GivenBack::Failed, obstacle.to_string()),
        };
        let (mut outcome, mut words) = (GivenBack::AsBefore, Vec::new());
        for step in &steps {
            let request = step.request(Some(id.uid.clone()));
            let done = resize_through(self, &pods, &id.name, &request, FIELD_MANAGER, false).await;
            let (one, said) = match done {
                Ok((_, None)) => continue,
                Ok((plan, Some(_))) => (GivenBack::Done, step.detail(&plan)),
                Err(error) if is_cut_short(&error) => {
                    outcome = outcome.max(GivenBack::NotReached);
                    break;
                }
                Err(error) if is_anothers(&error) => (GivenBack::NotOurs, error.to_string()),
                Err(error) => (GivenBack::Failed, error.to_string()),
            };
            outcome = outcome.max(one);
            words.push((one, format!("{}: {said}", step.container)));
        }
        // Of one that goes on in the next cycle only what is done is said: the rest may still come.
        words.retain(|(one, _)| outcome != GivenBack::NotReached || *one == GivenBack::Done);
        let words: Vec<_> = words.into_iter().map(|(_, said)| said).collect();
        (outcome, words.join("; "))
    }
}

/// Whether its turn did not come, or nobody knows what came of it: the next cycle sees.
fn is_cut_short(error: &ApplyError) -> bool {
    match error {
        ApplyError::Stopped(_) | ApplyError::Unanswered { .. } => true,
        ApplyError::Failed { source, .. } => Fenced::of(source).is_some(),
        _ => false,
    }
}

/// Whether what somebody else has done since keeps it from being as it was: the pod is gone, the amount is his, or his
/// request is above the limit that it had.
const fn is_anothers(error: &ApplyError) -> bool {
    matches!(
        error,
        ApplyError::Gone(_)
            | ApplyError::Contested { .. }
            | ApplyError::Refused(
                Refusal::LimitBelowRequest { .. } | Refusal::QosWouldChange { .. }
            )
    )
}
