//! Saying what a cycle did: one line of log per stage, and the metrics.

use std::collections::BTreeMap;

use mbcas_core::units::MilliCpu;
use mbcas_market::{
    Allocation, Anomaly, Clearing, Direction, EffectiveBudget, NodeSnapshot, Observed, Plan,
};

use crate::actuate::{Outcome, Outcomes};
use crate::cluster::View;
use crate::demand::Readings;
use crate::discover::{Discovery, usage_key};
use crate::govern::Governed;
use crate::jumps::Jump;
use crate::kubelet::UsageOf;
use crate::kubelets::Evidence;
use crate::leaving::{GivenBack, Leaver};
use crate::metrics::Metrics;
use crate::permit::Restraint;
use crate::unenforced::Unenforced;

/// Discover.
pub(crate) fn discovered(discovery: &Discovery, view: &View) {
    let (participants, namespaces) = (discovery.participants.len(), view.namespaces.len());
    let left_out: u64 = discovery.left_out.values().sum();
    tracing::info!(participants, namespaces, left_out, "Discover");
    for (pod, why) in &discovery.malformed {
        tracing::warn!(%pod, %why, "A pod is left out: its annotations cannot be read");
    }
}

/// Demand.
pub(crate) fn demanded(readings: &Readings, evidence: &Evidence, metrics: &Metrics) {
    for (reason, count) in &readings.failed {
        metrics
            .pull_failures
            .with_label_values(&[*reason])
            .inc_by(*count);
    }
    let kubelets_missing = evidence.failures;
    metrics.kubelet_failures.inc_by(kubelets_missing);
    for node in &evidence.warming_up {
        tracing::info!(%node, "No usage is known yet: recommending only, until the kubelet's second reading");
    }
    let (answered, missing) = (readings.answered, readings.missing());
    tracing::info!(answered, missing, kubelets_missing, "Demand");
}

/// Solve and Guardrail.
pub(crate) fn solved(snapshots: &[NodeSnapshot], plans: &[Plan]) {
    for (snapshot, plan) in snapshots.iter().zip(plans) {
        let (clearing, node) = (&plan.clearing, &snapshot.node);
        let (capacity, granted) = (plan.capacity, clearing.granted);
        tracing::info!(%node, %capacity, %granted, price = %clearing.price, "Solve");
        for allocation in &clearing.allocations {
            let Allocation {
                id,
                grant,
                reasoning,
                ..
            } = allocation;
            tracing::debug!(%node, container = %id, %grant, why = %reasoning, "Solve");
        }
        let (writes, held) = (plan.writes.len(), plan.held.len());
        tracing::info!(%node, writes, held, "Guardrail");
        for (id, reason) in &plan.held {
            tracing::debug!(%node, container = %id, why = %reason, "Guardrail");
        }
        for condition in &plan.conditions {
            tracing::warn!(%node, %condition, "Guardrail");
        }
    }
}

/// Jumps that an early turn is about to answer.
pub(crate) fn jumped(jumps: &[Jump], metrics: &Metrics) {
    for jump in jumps {
        let waited = jump.at.elapsed().as_secs_f64();
        metrics.jump_seconds.observe(waited);
    }
}

/// Whoever was let go; the log has it from whoever did it.
pub(crate) fn gave_back(leavers: &[Leaver], metrics: &Metrics) {
    let told = leavers.iter();
    for one in told.filter(|one| one.outcome != GivenBack::AsBefore) {
        let labels = [one.by.word(), one.outcome.word()];
        metrics.let_go.with_label_values(&labels).inc();
    }
}

/// Patch.
pub(crate) fn patched(plans: &[Plan], outcomes: &Outcomes, metrics: &Metrics) {
    for write in plans.iter().flat_map(|plan| &plan.writes) {
        let Some(outcome) = outcomes.get(&write.id) else {
            continue;
        };
        metrics.outcomes.with_label_values(&[outcome.word()]).inc();
        let from = write
            .from
            .map_or_else(|| "none".to_owned(), |limit| limit.to_string());
        let (container, to, why) = (&write.id, write.to, write.reason);
        if let Outcome::Refused(error) = outcome {
            tracing::warn!(%container, from, %to, %error, "Patch");
        } else {
            tracing::info!(%container, from, %to, outcome = outcome.word(), %why, "Patch");
        }
        if let Outcome::Done(after) = outcome {
            metrics.resize_seconds.observe(after.as_secs_f64());
        }
        if let Some([namespace, pod, name]) =
            metrics.labels(&write.id).filter(|_| outcome.is_written())
        {
            let (action, sign) = match write.direction() {
                Direction::Grow => ("grow", 1),
                Direction::Shrink => ("shrink", -1),
            };
            metrics
                .resizes
                .with_label_values(&[namespace, pod, name, action])
                .inc();
            metrics
                .delta
                .with_label_values(&[namespace, pod, name])
                .set(sign * gauge(write.delta()));
        }
    }
    let written = outcomes
        .values()
        .filter(|outcome| outcome.is_written())
        .count();
    tracing::info!(written, of = outcomes.len(), "Patch");
}

/// What bounds the cycle; after [`published`], which has dropped the gauges of the cycle before.
pub(crate) fn bounded(
    governed: &Governed,
    unenforced: &Unenforced,
    view: &View,
    metrics: &Metrics,
) {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for restrained in governed.restraints.values() {
        *counts.entry(restrained.by.word()).or_default() += 1;
    }
    for (reason, count) in &counts {
        let reason = metrics.restrained.with_label_values(&[*reason]);
        reason.set(*count);
    }
    for kind in &view.unseen {
        metrics.unseen.with_label_values(&[kind]).set(1);
    }
    for node in unenforced.nodes() {
        let labels = [node, Restraint::NoQuota.word()];
        metrics.conditions.with_label_values(&labels).set(1);
    }
    let horizontal = governed.encounters.horizontal.len();
    let horizontal = i64::try_from(horizontal).unwrap_or(i64::MAX);
    metrics.horizontal.set(horizontal);
    metrics.frozen.set(i64::from(governed.switch.is_frozen));
    if !counts.is_empty() {
        tracing::info!(by = ?counts, "Not resized");
    }
}

/// The gauges, all anew: what is not there any more has no series any more.
pub(crate) fn published(
    snapshots: &[NodeSnapshot],
    plans: &[Plan],
    outcomes: &Outcomes,
    usage: &UsageOf,
    discovery: &Discovery,
    metrics: &Metrics,
) {
    metrics.forget();
    for (reason, count) in &discovery.left_out {
        metrics
            .left_out
            .with_label_values(&[*reason])
            .set(i64::try_from(*count).unwrap_or(i64::MAX));
    }
    contradicts_nobody(metrics);
    for (snapshot, plan) in snapshots.iter().zip(plans) {
        node(snapshot, plan, outcomes, metrics);
        for (id, observed) in &snapshot.participants {
            if let Some(anomaly) = plan.ledger.anomaly(id, observed) {
                metrics.anomalies.with_label_values(&[anomaly.word()]).inc();
                tracing::debug!(container = %id, why = %anomaly, "Demand");
            }
        }
        for allocation in &plan.clearing.allocations {
            if let Some(observed) = snapshot.participants.get(&allocation.id) {
                container(
                    allocation,
                    observed,
                    snapshot,
                    &plan.clearing,
                    usage,
                    metrics,
                );
            }
        }
    }
}

#[allow(clippy::cast_precision_loss)] // gauges have no more digits
fn node(snapshot: &NodeSnapshot, plan: &Plan, outcomes: &Outcomes, metrics: &Metrics) {
    let label = [snapshot.node.as_str()];
    let written = plan
        .writes
        .iter()
        .filter(|w| outcomes.get(&w.id).is_some_and(Outcome::is_written));
    let moved: MilliCpu = written.map(mbcas_market::Write::delta).sum();
    let participants = snapshot.participants.len().max(1);
    for condition in &plan.conditions {
        let labels = [label[0], condition.word()];
        metrics.conditions.with_label_values(&labels).set(1);
    }
    metrics
        .capacity
        .with_label_values(&label)
        .set(gauge(plan.capacity));
    metrics
        .price
        .with_label_values(&label)
        .set(plan.clearing.price.as_f64());
    metrics
        .participants
        .with_label_values(&label)
        .set(i64::try_from(snapshot.participants.len()).unwrap_or(i64::MAX));
    metrics
        .stability
        .with_label_values(&label)
        .set(moved.get() as f64 / participants as f64);
}

#[allow(clippy::cast_precision_loss)] // gauges have no more digits
fn container(
    allocation: &Allocation,
    observed: &Observed,
    snapshot: &NodeSnapshot,
    clearing: &Clearing,
    usage: &UsageOf,
    metrics: &Metrics,
) {
    let Some(labels) = metrics.labels(&allocation.id) else {
        return;
    };
    metrics
        .alloc
        .with_label_values(&labels)
        .set(gauge(allocation.grant));
    metrics
        .need
        .with_label_values(&labels)
        .set(gauge(allocation.need));
    let [namespace, pod, name] = labels;
    metrics
        .recommended
        .with_label_values(&[namespace, pod, name, allocation.limit_reason.word()])
        .set(gauge(allocation.limit));
    metrics
        .bid
        .with_label_values(&labels)
        .set(allocation.bid.as_budget());
    metrics.budget.with_label_values(&labels).set(
        i64::try_from(observed.budget.thousandths() / EffectiveBudget::PARTS).unwrap_or(i64::MAX),
    );
    metrics
        .demand
        .with_label_values(&labels)
        .set(observed.demand.fraction());
    if let Some(limit) = observed.limit {
        metrics.limit.with_label_values(&labels).set(gauge(limit));
    }
    if let Some(used) = usage.get(&usage_key(&allocation.id)) {
        metrics
            .usage
            .with_label_values(&labels)
            .set(gauge(used.cpu));
    }
    if let Some(ratio) = fairness(allocation, observed, snapshot, clearing) {
        metrics.fairness.with_label_values(&labels).set(ratio);
    }
}

/// Share of what was granted above floors, over share of budgets; none where nothing was.
#[allow(clippy::cast_precision_loss)] // a ratio for people
fn fairness(
    allocation: &Allocation,
    observed: &Observed,
    snapshot: &NodeSnapshot,
    clearing: &Clearing,
) -> Option<f64> {
    let surplus = (allocation.grant - observed.floor()).get() as f64;
    let all = (clearing.granted - clearing.floors).get() as f64;
    let budgets: u64 = snapshot
        .participants
        .values()
        .map(|o| o.budget.thousandths())
        .sum();
    (all > 0.0).then(|| (surplus / all) / (observed.budget.thousandths() as f64 / budgets as f64))
}

fn gauge(cpu: MilliCpu) -> i64 {
    i64::try_from(cpu.get()).unwrap_or(i64::MAX)
}

/// Evidence contradicts no agent, as far as this process knows: it has just begun to count, or does not lead.
pub(crate) fn contradicts_nobody(metrics: &Metrics) {
    for anomaly in Anomaly::ALL {
        let gauge = metrics.anomalies.with_label_values(&[anomaly.word()]);
        gauge.set(0);
    }
}
