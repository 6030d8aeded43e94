//! Giving pods back what they had before the market: see [`crate::leaving`].

use std::collections::BTreeMap;

use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use mbcas_actuator::restore::{decide, has_ended};
use mbcas_actuator::{ApplyError, resize_through};
use mbcas_api::names::FIELD_MANAGER;
use mbcas_core::PodId;
use mbcas_core::units::MilliCpu;
use mbcas_market::decision::Turn;
use tokio::time::Instant;

use super::{Actuator, Cycle, is_fenced};
use crate::cluster::View;
use crate::lease::fence::fenced;
use crate::leaving::{GivenBack, Gone, LetGo};

/// How many pods are given back theirs at a time.
const AT_ONCE: usize = 8;

impl Actuator {
    /// Gives the pods in `due` back what they had, in the term `epoch`. What a limit is raised to that was
    /// absent is what the pod's node has.
    pub async fn give_back(&self, due: Vec<(PodId, LetGo)>, view: &View, epoch: i32) -> Vec<Gone> {
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
            tracing::info!(pod = %format!("{}/{}", pod.namespace, pod.name), by = by.word(),
                outcome = outcome.word(), %words, "Let go");
            Gone {
                pod,
                by,
                outcome,
                words,
            }
        });
        let each: Vec<_> = each.map(FutureExt::boxed).collect();
        let each = futures::stream::iter(each).buffer_unordered(AT_ONCE);
        each.collect().await
    }
}

impl Cycle<'_> {
    async fn give_back(
        &self,
        id: &PodId,
        allocatable: &BTreeMap<String, MilliCpu>,
    ) -> (GivenBack, String) {
        let failed = |why: &dyn std::fmt::Display| (GivenBack::Failed, why.to_string());
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &id.namespace);
        let pod = match pods.get_opt(&id.name).await {
            Ok(pod) => pod.filter(|pod| pod.metadata.uid.as_ref() == Some(&id.uid)),
            Err(error) if is_fenced(&error) => return (GivenBack::NotReached, String::new()),
            Err(error) => return failed(&error),
        };
        let Some(pod) = pod.filter(|pod| !has_ended(pod)) else {
            return (GivenBack::NotOurs, "it is gone".to_owned());
        };
        let steps = match decide(&pod, allocatable) {
            Ok(steps) => steps,
            Err(obstacle) => return failed(&obstacle),
        };
        let mut said = Vec::new();
        for step in &steps {
            let request = step.request(Some(id.uid.clone()));
            let done = resize_through(self, &pods, &id.name, &request, FIELD_MANAGER, false).await;
            match done {
                Ok((plan, _)) => said.push(format!("{}: {}", step.container, step.detail(&plan))),
                Err(ApplyError::Stopped(_)) => return (GivenBack::NotReached, String::new()),
                Err(error @ (ApplyError::Gone(_) | ApplyError::Contested { .. })) => {
                    return (GivenBack::NotOurs, error.to_string());
                }
                Err(error) => return failed(&error),
            }
        }
        (GivenBack::Done, said.join("; "))
    }
}
