//! Autothrottle's baseline K8s-CPU.

use std::collections::VecDeque;
use std::time::Duration;

use mbcas_core::MilliCpu;

use super::{Decision, Governor, NodeView, starting_limit};
use crate::simulate::pod::PodSpec;

/// How long a peak is remembered.
const MEMORY: Duration = Duration::from_mins(5);

/// The utilisation of the limit that is aimed at, in percent.
const TARGET: u64 = 60;

/// `limit = max(usage over 300 s) / 0.6`, every 15 s, from the kubelet's
/// windows; a limit is never below the request, as Kubernetes has it.
#[derive(Clone, Debug, Default)]
pub struct Utilisation {
    windows: Vec<VecDeque<(Duration, MilliCpu)>>,
}

impl Governor for Utilisation {
    fn name(&self) -> &'static str {
        "K8s-CPU 0.6"
    }

    fn at_creation(&self, pod: &PodSpec, allocatable: MilliCpu) -> Option<MilliCpu> {
        starting_limit(pod, allocatable)
    }

    fn decide(&mut self, node: &NodeView<'_>) -> Vec<Decision> {
        self.windows.resize(node.pods.len(), VecDeque::new());
        let mut decisions = Vec::new();
        for ((pod, view), windows) in node.pods.iter().enumerate().zip(&mut self.windows) {
            let Some(usage) = view.usage.filter(|_| view.spec.takes_part) else {
                continue;
            };
            if windows.back().is_none_or(|(until, _)| *until < usage.until) {
                windows.push_back((usage.until, usage.cpu));
            }
            while windows
                .front()
                .is_some_and(|(at, _)| *at + MEMORY < node.now)
            {
                windows.pop_front();
            }
            let peak = windows
                .iter()
                .map(|(_, cpu)| *cpu)
                .max()
                .unwrap_or_default();
            let limit = peak
                .scaled(100, TARGET)
                .ceil_to_quantum()
                .max(view.spec.request)
                .min(view.spec.max.unwrap_or(node.allocatable));
            decisions.push(Decision {
                pod,
                limit,
                needs_donor: false,
            });
        }
        decisions
    }
}
