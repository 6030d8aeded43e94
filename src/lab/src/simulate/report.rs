//! The tables.

use std::collections::BTreeSet;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};

use super::governor::{Decision, NodeView};
use super::latency::Latency;
use super::outcome::{Outcome, PodOutcome};
use super::pod::Role;

/// What writes are compared with.
const RESIZE_ALL: &str = "resize all";

/// What came of one scenario under one governor, all seeds together.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The scenario's name.
    pub scenario: String,
    /// The governor's.
    pub governor: &'static str,
    /// What it is to be compared with.
    pub against: Option<String>,
    /// Whether it counts from a moment at which something changed.
    pub has_turn: bool,
    /// One per seed.
    pub outcomes: Vec<Outcome>,
}

impl Summary {
    fn pods(&self) -> impl Iterator<Item = &PodOutcome> {
        self.outcomes.iter().flat_map(|outcome| &outcome.pods)
    }

    fn of(&self, role: Role) -> impl Iterator<Item = &PodOutcome> {
        self.pods().filter(move |pod| pod.role == role)
    }

    /// Latencies of the focus, all seeds together.
    pub fn latency(&self) -> Option<Latency> {
        together(self.of(Role::Focus))
    }

    /// The share of slow requests in one class of budgets, in percent.
    pub fn slow(&self, upper: bool) -> Option<f64> {
        late(self.pods().filter(|pod| pod.is_upper() == upper))
    }

    /// How well the node served, mean over the seeds; see [`Outcome::welfare`].
    #[allow(clippy::cast_precision_loss)] // seeds
    pub fn welfare(&self) -> f64 {
        let sum: f64 = self.outcomes.iter().map(Outcome::welfare).sum();
        sum / self.outcomes.len().max(1) as f64
    }

    /// The sum of `what` over some pods, mean over the seeds.
    #[allow(clippy::cast_precision_loss)] // seeds
    fn sum<'a>(
        &self,
        pods: impl Iterator<Item = &'a PodOutcome>,
        what: impl Fn(&PodOutcome) -> f64,
    ) -> f64 {
        pods.map(what).sum::<f64>() / self.outcomes.len().max(1) as f64
    }

    /// `what` per hour and pod that takes part.
    #[allow(clippy::cast_precision_loss)] // thousands
    pub fn hourly(&self, what: impl Fn(&PodOutcome) -> u64) -> f64 {
        let (mut count, mut hours) = (0, 0.0);
        for outcome in &self.outcomes {
            for pod in outcome.pods.iter().filter(|pod| pod.takes_part) {
                count += what(pod);
                hours += outcome.hours;
            }
        }
        if hours > 0.0 {
            count as f64 / hours
        } else {
            0.0
        }
    }

    /// Seconds until the focus was well for good, the worst of all seeds,
    /// where the scenario has a moment to count from.
    fn settled(&self) -> Option<usize> {
        if !self.has_turn {
            return None;
        }
        let latencies = self.of(Role::Focus).filter_map(|pod| pod.latency.as_ref());
        latencies.map(Latency::settled_after).max()
    }

    fn row(&self) -> Vec<String> {
        let latency = self.latency();
        let quantile = |share| milliseconds(latency.as_ref().and_then(|l| l.quantile(share)));
        let cpu = |pod: &PodOutcome| pod.cpu;
        let mut row = vec![self.scenario.clone(), self.governor.to_owned()];
        row.extend([0.5, 0.95, 0.99].map(quantile));
        row.extend([self.slow(true), self.slow(false)].map(percent));
        row.extend([
            millicores(self.sum(self.pods(), cpu)),
            if self.of(Role::Neighbour).next().is_some() {
                millicores(self.sum(self.of(Role::Neighbour), cpu))
            } else {
                dash()
            },
            format!("{:.1}", self.hourly(|pod| pod.writes)),
            format!("{:.1}", self.hourly(|pod| pod.reversals)),
            self.settled()
                .map_or_else(dash, |seconds| format!("{seconds}")),
        ]);
        row
    }

    /// What the focus gains and the others lose, against `other`, where all was as it should be.
    fn gain(&self, other: &Self) -> Vec<String> {
        let change = |what: &dyn Fn(&Self) -> f64| {
            let (now, then) = (what(self), what(other));
            let percent = (now / then.max(1e-9) - 1.0) * 100.0;
            format!("{} ({percent:+.1} %)", millicores(now))
        };
        let others = |summary: &Self| {
            let others = summary.pods().filter(|pod| pod.role != Role::Focus);
            summary.sum(others, |pod| pod.cpu)
        };
        vec![
            self.scenario.clone(),
            self.governor.to_owned(),
            change(&|summary| summary.sum(summary.of(Role::Focus), |pod| pod.limit)),
            change(&|summary| summary.sum(summary.of(Role::Focus), |pod| pod.cpu)),
            change(&others),
        ]
    }
}

/// One line: when, what was seen of each pod (usage/limit, and its demand), and what was decided.
pub fn decision(node: &NodeView<'_>, decisions: &[Decision]) -> String {
    let why = if node.is_event { "jump" } else { "turn" };
    let mut words = vec![format!("{:>7.1} s {why}", node.now.as_secs_f64())];
    for (place, pod) in node.pods.iter().enumerate() {
        let usage = pod.usage.map_or_else(dash, |usage| usage.cpu.to_string());
        let limit = pod.limit.map_or_else(dash, |limit| limit.to_string());
        let demand = pod.demand.map_or_else(dash, |demand| demand.to_string());
        let jumped = if pod.jumped { "!" } else { "" };
        words.push(format!(
            " {}: {usage}/{limit} {demand}{jumped}",
            pod.spec.name
        ));
        let decided = decisions.iter().filter(|decision| decision.pod == place);
        words.extend(decided.map(|decision| format!("-> {}", decision.limit)));
    }
    words.join(" ")
}

/// The main table.
pub fn table(summaries: &[Summary]) -> Table {
    let mut table = with_header(&[
        "scenario",
        "governor",
        "p50 ms",
        "p95",
        "p99",
        "late >=300",
        "late <300",
        "CPU used",
        "neighbour",
        "writes/pod-h",
        "reversals",
        "well after s",
    ]);
    let mut last = None;
    for summary in summaries {
        let mut row = summary.row();
        if last.replace(&summary.scenario) == Some(&summary.scenario) {
            row[0].clear();
        }
        table.add_row(row);
    }
    table
}

/// What lying and splitting gain, where anything of it was simulated together with its counterpart.
pub fn gains(summaries: &[Summary]) -> Option<Table> {
    let mut table = with_header(&[
        "scenario",
        "governor",
        "limit of the focus",
        "its CPU",
        "the others' CPU",
    ]);
    for summary in summaries {
        let truth = summaries.iter().find(|other| {
            Some(&other.scenario) == summary.against.as_ref() && other.governor == summary.governor
        });
        if let Some(truth) = truth {
            table.add_row(summary.gain(truth));
        }
    }
    (table.row_count() > 0).then_some(table)
}

/// How well each governor served for its writes, where "resize all" was simulated too.
pub fn savings(summaries: &[Summary]) -> Option<Table> {
    let mut table = with_header(&[
        "scenario",
        "governor",
        "welfare",
        "lost",
        "writes/pod-h",
        "of them",
    ]);
    let all: Vec<_> = summaries
        .iter()
        .filter(|s| s.governor == RESIZE_ALL)
        .collect();
    for summary in summaries {
        let Some(base) = all.iter().find(|all| all.scenario == summary.scenario) else {
            continue;
        };
        let (writes, most) = (
            summary.hourly(|pod| pod.writes),
            base.hourly(|pod| pod.writes),
        );
        table.add_row([
            summary.scenario.clone(),
            summary.governor.to_owned(),
            format!("{:.4}", summary.welfare()),
            percent(Some((1.0 - summary.welfare() / base.welfare()) * 100.0)),
            format!("{writes:.2}"),
            percent(Some(writes / most.max(1e-9) * 100.0)),
        ]);
    }
    (table.row_count() > 0).then_some(table)
}

/// Each budget for itself: the services of one budget together.
pub fn budgets(summaries: &[Summary]) -> Table {
    let mut table = with_header(&[
        "scenario", "governor", "budget", "p50 ms", "p95", "p99", "late", "CPU used",
    ]);
    for summary in summaries {
        let services = || summary.pods().filter(|pod| pod.latency.is_some());
        let budgets: BTreeSet<u64> = services().map(|pod| pod.budget).collect();
        for budget in budgets.into_iter().rev() {
            let of = || services().filter(|pod| pod.budget == budget);
            let latency = together(of());
            let quantile = |share| milliseconds(latency.as_ref().and_then(|l| l.quantile(share)));
            let mut row = vec![
                summary.scenario.clone(),
                summary.governor.to_owned(),
                budget.to_string(),
            ];
            row.extend([0.5, 0.95, 0.99].map(quantile));
            row.push(percent(late(of())));
            row.push(millicores(summary.sum(of(), |pod| pod.cpu)));
            table.add_row(row);
        }
    }
    table
}

/// Latencies of several pods taken together.
fn together<'a>(pods: impl Iterator<Item = &'a PodOutcome>) -> Option<Latency> {
    let mut all = pods.filter_map(|pod| pod.latency.as_ref());
    let first = all.next()?.clone();
    Some(all.fold(first, |mut sum, latency| {
        sum.add(latency);
        sum
    }))
}

/// The share of slow requests of several pods, in percent.
#[allow(clippy::cast_precision_loss)] // millions
fn late<'a>(pods: impl Iterator<Item = &'a PodOutcome>) -> Option<f64> {
    let latencies = pods.filter_map(|pod| pod.latency.as_ref());
    let (slow, all) = latencies.fold((0, 0), |(slow, all), latency| {
        (slow + latency.slow(), all + latency.count())
    });
    (all > 0).then(|| slow as f64 / all as f64 * 100.0)
}

fn with_header(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(header.iter().copied());
    for column in 2..header.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn dash() -> String {
    "-".to_owned()
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or_else(dash, |ms| format!("{ms:.0}"))
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(dash, |share| format!("{share:.2} %"))
}

fn millicores(cores: f64) -> String {
    format!("{:.0}m", cores * 1_000.0)
}
