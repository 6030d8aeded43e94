//! Autothrottle's Captain: holds a pod's throttle ratio at a target, from the kernel's own counters.

use std::collections::VecDeque;
use std::time::Duration;

use mbcas_core::MilliCpu;

use super::{Decision, Governor, NodeView, starting_limit};
use crate::simulate::kernel::Counters;
use crate::simulate::pod::PodSpec;
use crate::simulate::time::Nanos;

/// How often it looks.
const TICK: Duration = Duration::from_millis(100);
/// Ticks between decisions, over which throttling is averaged.
const DECISION: usize = 10;
/// Ticks of usage that it remembers.
const MEMORY: usize = 50;
/// The throttle ratio that is aimed at, from the middle of Autothrottle's choice of nine.
const TARGET: f64 = 0.06;
/// How far throttling must be above the target for a limit to be raised at once.
const ALARM: f64 = 3.0 * TARGET;
/// The margin that it starts with.
const MARGIN: f64 = 3.0;
/// The least limit, in cores.
const LEAST: f64 = 0.01;

/// The law of `worker-daemon.py`, with limits in cores as there.
#[derive(Clone, Debug, Default)]
pub struct Captain {
    pods: Vec<Option<Hold>>,
}

/// What it remembers of one pod.
#[derive(Clone, Debug)]
struct Hold {
    limit: f64,
    /// The limit before, where the last decision was a cut.
    cut_from: Option<f64>,
    margin: f64,
    counters: Counters,
    usage: VecDeque<f64>,
    throttled: VecDeque<f64>,
    ticks: usize,
}

impl Governor for Captain {
    fn name(&self) -> &'static str {
        "Captain 1 s"
    }

    fn interval(&self) -> Duration {
        TICK
    }

    fn is_on_the_node(&self) -> bool {
        true
    }

    fn at_creation(&self, pod: &PodSpec, allocatable: MilliCpu) -> Option<MilliCpu> {
        starting_limit(pod, allocatable)
    }

    fn decide(&mut self, node: &NodeView<'_>) -> Vec<Decision> {
        self.pods.resize(node.pods.len(), None);
        let mut decisions = Vec::new();
        for ((pod, view), hold) in node.pods.iter().enumerate().zip(&mut self.pods) {
            let Some(limit) = view.limit.filter(|_| view.spec.takes_part) else {
                continue;
            };
            let cap = cores(view.spec.max.unwrap_or(node.allocatable));
            let hold = hold.get_or_insert_with(|| Hold::of(cores(limit)));
            if hold.tick(&view.counters, cap) {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                // from 10m to a cap
                let limit = MilliCpu::new((hold.limit * 1_000.0) as u64);
                decisions.push(Decision {
                    pod,
                    limit,
                    needs_donor: false,
                });
            }
        }
        decisions
    }
}

impl Hold {
    fn of(limit: f64) -> Self {
        Self {
            limit,
            cut_from: None,
            margin: MARGIN,
            counters: Counters::default(),
            usage: VecDeque::with_capacity(MEMORY + 1),
            throttled: VecDeque::with_capacity(DECISION + 1),
            ticks: 0,
        }
    }

    /// Looks at the counters; whether the limit changed.
    fn tick(&mut self, counters: &Counters, cap: f64) -> bool {
        let before = std::mem::replace(&mut self.counters, *counters);
        let used = (counters.usage - before.usage).seconds() / TICK.as_secs_f64();
        #[allow(clippy::cast_precision_loss)] // one or two
        let throttled = (counters.throttled - before.throttled) as f64;
        remember(&mut self.usage, used, MEMORY);
        remember(&mut self.throttled, throttled, DECISION);
        self.ticks += 1;
        if self.throttled.len() < DECISION {
            return false;
        }
        let ratio = mean(&self.throttled);
        let old = self.limit;
        if ratio > ALARM
            && let Some(cut_from) = self.cut_from.take()
        {
            // The last cut was a mistake: back, and as much again.
            self.limit = 2.0 * cut_from - self.limit;
            self.margin += ratio - TARGET;
            self.throttled.clear();
        } else if self.ticks.is_multiple_of(DECISION) {
            self.decide(ratio);
        }
        self.limit = self.limit.clamp(LEAST, cap);
        (self.limit - old).abs() > 1e-9
    }

    fn decide(&mut self, ratio: f64) {
        self.margin = (self.margin + ratio - TARGET).max(0.0);
        self.cut_from = None;
        if ratio > ALARM {
            self.limit *= 1.0 + ratio - ALARM;
            return;
        }
        let most = self.usage.iter().copied().fold(0.0, f64::max);
        let wanted = most + deviation(&self.usage) * self.margin;
        if wanted <= 0.9 * self.limit {
            self.cut_from = Some(self.limit);
            self.limit = wanted.max(0.5 * self.limit);
        }
    }
}

fn remember(values: &mut VecDeque<f64>, value: f64, most: usize) {
    values.push_back(value);
    if values.len() > most {
        values.pop_front();
    }
}

#[allow(clippy::cast_precision_loss)] // fifty
fn mean(values: &VecDeque<f64>) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[allow(clippy::cast_precision_loss)] // fifty
fn deviation(values: &VecDeque<f64>) -> f64 {
    let mean = mean(values);
    let squares = values.iter().map(|value| (value - mean).powi(2));
    (squares.sum::<f64>() / values.len().max(1) as f64).sqrt()
}

fn cores(limit: MilliCpu) -> f64 {
    Nanos::new(limit.get() * 1_000_000).seconds()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second in which `cores` were used and `throttled` periods of ten were throttled.
    fn second(hold: &mut Hold, cores: f64, throttled: u64) {
        for tick in 0..10 {
            let mut counters = hold.counters;
            counters.usage += Nanos::from_seconds(cores / 10.0);
            counters.periods += 1;
            counters.throttled += u64::from(tick < throttled);
            hold.tick(&counters, 4.0);
        }
    }

    #[test]
    fn it_cuts_by_half_at_most_and_raises_by_how_much_is_throttled() {
        let mut hold = Hold::of(4.0);
        second(&mut hold, 0.5, 0);
        assert!((hold.limit - 2.0).abs() < 1e-6, "{hold:?}");
        second(&mut hold, 0.5, 0);
        second(&mut hold, 0.5, 0);
        assert!((hold.limit - 0.5).abs() < 0.01, "{hold:?}");
        hold.cut_from = None;
        second(&mut hold, 0.5, 10);
        assert!((hold.limit - 0.5 * 1.82).abs() < 0.02, "{hold:?}");
    }

    #[test]
    fn a_cut_that_throttles_is_taken_back_with_interest() {
        let mut hold = Hold::of(2.0);
        second(&mut hold, 0.5, 0);
        assert!((hold.limit - 1.0).abs() < 1e-6, "{hold:?}");
        second(&mut hold, 0.5, 2);
        assert!((hold.limit - 3.0).abs() < 1e-6, "2 x 2 - 1: {hold:?}");
    }
}
