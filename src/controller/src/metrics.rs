//! Every metric of the controller, registered once.
//!
//! Labels come from closed sets, but for the names of objects in the cluster;
//! no text that a tenant wrote becomes a label's value.

use mbcas_core::ContainerId;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry,
};

const CONTAINER: [&str; 3] = ["namespace", "pod", "container"];

/// The metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// `mbcas_alloc_cpu_mcores`: what the last clearing grants.
    pub alloc: IntGaugeVec,
    /// `mbcas_need_cpu_mcores`: what it could use, by the last clearing.
    pub need: IntGaugeVec,
    /// `mbcas_recommended_cpu_mcores`: the limit that the last clearing wants, and why.
    pub recommended: IntGaugeVec,
    /// `mbcas_limit_cpu_mcores`: the limit that the container runs with.
    pub limit: IntGaugeVec,
    /// `mbcas_usage_cpu_mcores`: what the kubelet says that it used.
    pub usage: IntGaugeVec,
    /// `mbcas_effective_bid`: budget × f(demand), smoothed.
    pub bid: GaugeVec,
    /// `mbcas_budget`: the weight as written.
    pub budget: IntGaugeVec,
    /// `mbcas_demand_intensity`: what the market counts with, from 0 to 1.
    pub demand: GaugeVec,
    /// `mbcas_fairness_ratio`: share of what is granted above floors, over share of budgets.
    pub fairness: GaugeVec,
    /// `mbcas_resize_delta_mcores`: the last change of the limit, signed.
    pub delta: IntGaugeVec,
    /// `mbcas_resize_events_total`: changes written, by direction.
    pub resizes: IntCounterVec,
    /// `mbcas_resize_outcomes_total`: what became of writes, by outcome.
    pub outcomes: IntCounterVec,
    /// `mbcas_let_go_total`: tries to give a pod back what it had, by what let it go and outcome.
    pub let_go: IntCounterVec,
    /// `mbcas_resize_seconds`: from the write to the kubelet's confirmation.
    pub resize_seconds: Histogram,
    /// `mbcas_price`: effective bid per millicore at clearing, 0 when nobody is short.
    pub price: GaugeVec,
    /// `mbcas_capacity_mcores`: what a node's market may hand out.
    pub capacity: IntGaugeVec,
    /// `mbcas_stability_mcores`: mean absolute change of limits in the last cycle, per participant.
    pub stability: GaugeVec,
    /// `mbcas_participants`: how many take part, by node.
    pub participants: IntGaugeVec,
    /// `mbcas_left_out_pods`: pods of labelled namespaces that do not, by reason.
    pub left_out: IntGaugeVec,
    /// `mbcas_restrained_containers`: participants that are not resized, by what keeps them most.
    pub restrained: IntGaugeVec,
    /// `mbcas_hpa_containers`: participants that a HorizontalPodAutoscaler counts by CPU.
    pub horizontal: IntGauge,
    /// `mbcas_node_conditions`: what somebody should know about a node, by condition.
    pub conditions: IntGaugeVec,
    /// `mbcas_unseen_kinds`: 1 for a kind that may not be read, or is not installed.
    pub unseen: IntGaugeVec,
    /// `mbcas_frozen`: 1 while the switch keeps everything as it is.
    pub frozen: IntGauge,
    /// `mbcas_write_budget_used_ratio`: which part of the budget of writes was used at most in the last cycle and since the one before.
    pub write_budget: Gauge,
    /// `mbcas_put_off_writes_total`: writes left for a later cycle, for others that bring more.
    pub put_off: IntCounter,
    /// `mbcas_quota_held_total`: growths left out because a ResourceQuota has no room.
    pub quota_held: IntCounter,
    /// `mbcas_unwritten_notes_total`: statuses, events and recommendations that were not taken.
    pub unwritten: IntCounterVec,
    /// `mbcas_demand_anomalies`: agents whose word the evidence contradicts, by how.
    pub anomalies: IntGaugeVec,
    /// `mbcas_demand_pull_failures_total`: agents that did not answer, by reason.
    pub pull_failures: IntCounterVec,
    /// `mbcas_kubelet_failures_total`: kubelets that did not answer.
    pub kubelet_failures: IntCounter,
    /// `mbcas_jump_seconds`: from hearing of a jump of demand to deciding about it.
    pub jump_seconds: Histogram,
    /// `mbcas_cycle_seconds`: how long a cycle took.
    pub cycle_seconds: Histogram,
    /// `mbcas_leader`: 1 while this process may write.
    pub leader: IntGauge,
    /// `mbcas_resize_supported`: 1 if the cluster serves `pods/resize`.
    pub supported: IntGauge,
    /// Whether there is a series per container.
    per_pod: bool,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// If a name is taken in `registry`.
    pub fn register(registry: &Registry, per_pod: bool) -> Result<Self, prometheus::Error> {
        let new = Registrar(registry);
        Ok(Self {
            alloc: new.ints("mbcas_alloc_cpu_mcores", "CPU granted by the last clearing, millicores", &CONTAINER)?,
            need: new.ints("mbcas_need_cpu_mcores", "CPU that it could use, by the last clearing, millicores", &CONTAINER)?,
            recommended: new.ints(
                "mbcas_recommended_cpu_mcores",
                "CPU limit that the last clearing wants, millicores",
                &["namespace", "pod", "container", "reason"],
            )?,
            limit: new.ints("mbcas_limit_cpu_mcores", "CPU limit as it runs, millicores", &CONTAINER)?,
            usage: new.ints("mbcas_usage_cpu_mcores", "CPU used by the kubelet's account, millicores", &CONTAINER)?,
            bid: new.floats("mbcas_effective_bid", "Effective bid: budget x f(demand), smoothed", &CONTAINER)?,
            budget: new.ints("mbcas_budget", "Budget, the pod's weight in the market", &CONTAINER)?,
            demand: new.floats("mbcas_demand_intensity", "Demand intensity that the market counts with, 0..1", &CONTAINER)?,
            fairness: new.floats(
                "mbcas_fairness_ratio",
                "Share of what is granted above floors over share of budgets on the node; 1 is fair",
                &CONTAINER,
            )?,
            delta: new.ints("mbcas_resize_delta_mcores", "Last change of the CPU limit, signed millicores", &CONTAINER)?,
            resizes: new.counts(
                "mbcas_resize_events_total",
                "Changes of CPU limits, by action",
                &["namespace", "pod", "container", "action"],
            )?,
            outcomes: new.counts("mbcas_resize_outcomes_total", "Resize attempts, by outcome", &["outcome"])?,
            let_go: new.counts(
                "mbcas_let_go_total",
                "Tries to give a pod that takes part no more what it had, by what let it go and outcome",
                &["by", "outcome"],
            )?,
            resize_seconds: new.histogram(
                "mbcas_resize_seconds",
                "Seconds from the accepted write to the kubelet's confirmation",
                vec![0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0],
            )?,
            price: new.floats("mbcas_price", "Effective bid per millicore at clearing; 0 when nobody is short", &["node"])?,
            capacity: new.ints("mbcas_capacity_mcores", "What the node's market may hand out, millicores", &["node"])?,
            stability: new.floats("mbcas_stability_mcores", "Mean absolute change of limits in the last cycle", &["node"])?,
            participants: new.ints("mbcas_participants", "Containers at the node's market", &["node"])?,
            left_out: new.ints("mbcas_left_out_pods", "Pods of labelled namespaces that do not take part", &["reason"])?,
            restrained: new.ints(
                "mbcas_restrained_containers",
                "Participants that are not resized, by the first cause",
                &["reason"],
            )?,
            horizontal: new.int("mbcas_hpa_containers", "Participants that a HorizontalPodAutoscaler counts by CPU")?,
            conditions: new.ints("mbcas_node_conditions", "1 for a condition of a node's market", &["node", "condition"])?,
            unseen: new.ints("mbcas_unseen_kinds", "1 for a kind that may not be read, or is not installed", &["kind"])?,
            frozen: new.int("mbcas_frozen", "1 while the switch keeps everything as it is")?,
            write_budget: new.float(
                "mbcas_write_budget_used_ratio",
                "Most of the cluster's budget of writes that was used at one moment of the last cycle; at 1 writes had to wait",
            )?,
            put_off: new.count("mbcas_put_off_writes_total", "Writes left for a later cycle because others bring more")?,
            quota_held: new.count("mbcas_quota_held_total", "Growths left out because a ResourceQuota has no room")?,
            unwritten: new.counts("mbcas_unwritten_notes_total", "Notes to the cluster that were not taken", &["what"])?,
            anomalies: new.ints(
                "mbcas_demand_anomalies",
                "Agents whose word the evidence contradicts",
                &["reason"],
            )?,
            pull_failures: new.counts("mbcas_demand_pull_failures_total", "Agents that gave no demand", &["reason"])?,
            kubelet_failures: new.count("mbcas_kubelet_failures_total", "Kubelets that gave no usage")?,
            jump_seconds: new.histogram(
                "mbcas_jump_seconds",
                "Seconds from hearing of a jump of demand to deciding about it, between two cycles",
                vec![0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
            )?,
            cycle_seconds: new.histogram(
                "mbcas_cycle_seconds",
                "Seconds that one cycle took",
                vec![0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
            )?,
            leader: new.int("mbcas_leader", "1 while this process may write")?,
            supported: new.int("mbcas_resize_supported", "1 if the cluster serves pods/resize")?,
            per_pod,
        })
    }

    /// The label values of `id`, unless series per container are switched off.
    pub fn labels<'a>(&self, id: &'a ContainerId) -> Option<[&'a str; 3]> {
        self.per_pod
            .then_some([&id.pod.namespace, &id.pod.name, &id.container])
    }

    /// Drops every gauge about a container or a node; the next cycle sets those that still are.
    pub fn forget(&self) {
        for gauges in [
            &self.alloc,
            &self.need,
            &self.recommended,
            &self.limit,
            &self.usage,
            &self.budget,
            &self.capacity,
            &self.participants,
            &self.left_out,
            &self.restrained,
            &self.conditions,
            &self.unseen,
        ] {
            gauges.reset();
        }
        for gauges in [
            &self.bid,
            &self.demand,
            &self.fairness,
            &self.price,
            &self.stability,
        ] {
            gauges.reset();
        }
    }

    /// Drops the series of a container that is gone.
    pub fn forget_container(&self, id: &ContainerId) {
        let Some([namespace, pod, container]) = self.labels(id) else {
            return;
        };
        for action in ["grow", "shrink"] {
            let _ = self
                .resizes
                .remove_label_values(&[namespace, pod, container, action]);
        }
        let _ = self.delta.remove_label_values(&[namespace, pod, container]);
    }
}

struct Registrar<'a>(&'a Registry);

impl Registrar<'_> {
    fn keep<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: C,
    ) -> Result<C, prometheus::Error> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn ints(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.keep(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn floats(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, prometheus::Error> {
        self.keep(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn counts(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn count(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.keep(IntCounter::new(name, help)?)
    }

    fn int(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.keep(IntGauge::new(name, help)?)
    }

    fn float(&self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        self.keep(Gauge::new(name, help)?)
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: Vec<f64>,
    ) -> Result<Histogram, prometheus::Error> {
        self.keep(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(buckets),
        )?)
    }
}
