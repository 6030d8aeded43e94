//! `mbcas explain`: what the market decided about a pod lately, and why.
//!
//! It is the leader's own record, read through the API server as by `mbcas recommend`.

mod words;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use mbcas_api::names::DECISIONS_PATH;
use mbcas_core::ContainerId;
use mbcas_market::clear::Price;
use mbcas_market::decision::{Decision, DecisionError};
use serde::Serialize;
use thiserror::Error;

use crate::args::ExplainArgs;
use crate::connect::Cluster;
use crate::leader::{Leader, LeaderError};
use crate::output::{self, Format, OutputError, Report};

/// Why there is no explanation.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// The leader cannot be asked.
    #[error(transparent)]
    Leader(#[from] LeaderError),
    /// The pod cannot be read.
    #[error("reading pod {namespace}/{pod} failed: {}; this needs `get` on pods", output::words(.cause))]
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        pod: String,
        /// The cause.
        cause: Box<kube::Error>,
    },
    /// What the leader says is no record.
    #[error("reading the record of pod {pod} failed in line {line}: {cause}")]
    Record {
        /// The leader.
        pod: String,
        /// Where, from 1.
        line: usize,
        /// The cause.
        cause: DecisionError,
    },
    /// Nothing was decided about it, or that is too long ago.
    #[error(
        "no decision about {what} is among the {count} that pod {leader} keeps of its node: see mbcas check whether it takes part, and wait one cycle if it is new"
    )]
    Undecided {
        /// The pod, or the container.
        what: String,
        /// How many were looked at.
        count: usize,
        /// The leader.
        leader: String,
    },
    /// The result cannot be written down.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// What one decision says about one container. Amounts of CPU in millicores, as in `250m`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// When it was made, in UTC.
    pub decided: String,
    /// What made it: a cycle, or early, a jump of demand.
    pub turn: &'static str,
    /// The term of the leader that made it.
    pub term: i32,
    /// The node.
    pub node: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// What it could use.
    pub need: String,
    /// Its budget, after its namespace's allotment.
    pub budget: String,
    /// Its namespace asks for more than its BudgetPolicy's total, so that all of its budgets are lowered.
    pub is_scaled: bool,
    /// Its demand, from 0 to 1, at that moment.
    pub demand: String,
    /// What is odd about what its agent says; absent if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
    /// Its bid, in units of a budget.
    pub bid: String,
    /// The least that it is given.
    pub floor: String,
    /// The most that it is given.
    pub cap: String,
    /// What it is promised.
    pub grant: String,
    /// Why, in one word of a closed set.
    pub grant_reason: &'static str,
    /// Why, for people.
    pub grant_because: String,
    /// Its limit before the decision; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// The limit that the market wants for it.
    pub wanted: String,
    /// Why, in one word of a closed set.
    pub limit_reason: &'static str,
    /// Why, for people.
    pub limit_because: String,
    /// What kept the limit from being written, in one word of a closed set; absent if nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<&'static str>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_because: Option<String>,
    /// The limit that was to be written; absent if none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<String>,
    /// What became of that, in one word of a closed set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The node's price: budget per millicore, 0 while nobody is short.
    pub price: String,
}

/// Carries out the command.
///
/// # Errors
/// [`ExplainError`].
pub async fn run(cluster: &Cluster, args: &ExplainArgs) -> Result<Report, ExplainError> {
    let leader = Leader::find(&cluster.client, &args.installation).await?;
    let path = match node(cluster, &args.pod).await? {
        Some(node) => format!("{DECISIONS_PATH}?node={node}"),
        // It is gone, but may be remembered.
        None => DECISIONS_PATH.to_owned(),
    };
    let record = leader.read(&path).await?;
    let is_meant = |id: &ContainerId| {
        id.pod.namespace == cluster.namespace()
            && id.pod.name == args.pod
            && args.container.as_ref().is_none_or(|c| *c == id.container)
    };
    let mut rows = Vec::new();
    for (at, line) in record.lines().enumerate() {
        let decision = Decision::read(line).map_err(|cause| ExplainError::Record {
            pod: leader.pod.clone(),
            line: at + 1,
            cause,
        })?;
        rows.extend(about(&decision, is_meant));
    }
    if rows.is_empty() {
        let pod = format!("pod {}/{}", cluster.namespace(), args.pod);
        let container = args.container.iter();
        return Err(ExplainError::Undecided {
            what: container.fold(pod, |pod, name| format!("container {name} of {pod}")),
            count: record.lines().count(),
            leader: leader.pod,
        });
    }
    rows.reverse();
    let text = match args.output {
        Format::Json => output::json(&rows)?,
        Format::Yaml => output::yaml(&rows)?,
        Format::Table => words::words(&rows),
    };
    Ok(Report {
        text,
        failed: false,
    })
}

/// The node that the pod is on; none of a pod that is gone, or on none.
async fn node(cluster: &Cluster, pod: &str) -> Result<Option<String>, ExplainError> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), cluster.namespace());
    let found = pods.get_opt(pod).await.map_err(|cause| ExplainError::Pod {
        namespace: cluster.namespace().to_owned(),
        pod: pod.to_owned(),
        cause: Box::new(cause),
    })?;
    Ok(found.and_then(|pod| pod.spec?.node_name))
}

/// What `decision` says about the containers that are meant.
fn about(decision: &Decision<'_>, is_meant: impl Fn(&ContainerId) -> bool) -> Vec<Row> {
    let plan = &decision.plan;
    let allocations = plan.clearing.allocations.iter();
    let meant = allocations.filter(|allocation| is_meant(&allocation.id));
    let row = |allocation: &mbcas_market::Allocation| {
        let id = &allocation.id;
        let observed = decision.snapshot.participants.get(id)?;
        let held = plan.held.iter().find(|(held, _)| held == id);
        let held = held.map(|(_, reason)| reason);
        let write = plan.writes.iter().find(|write| write.id == *id);
        let outcome = decision.outcomes.get(id);
        Some(Row {
            decided: moment(decision.time),
            turn: decision.turn.word(),
            term: decision.term,
            node: decision.snapshot.node.clone(),
            namespace: id.pod.namespace.clone(),
            pod: id.pod.name.clone(),
            container: id.container.clone(),
            need: allocation.need.to_string(),
            budget: observed.budget.to_string(),
            is_scaled: observed.is_scaled,
            demand: observed.demand.to_string(),
            doubt: plan.ledger.anomaly(id, observed).map(|odd| odd.to_string()),
            bid: allocation.bid.to_string(),
            floor: observed.floor().to_string(),
            cap: observed
                .cap(decision.snapshot.supply.allocatable)
                .to_string(),
            grant: allocation.grant.to_string(),
            grant_reason: allocation.reasoning.word(),
            grant_because: allocation.reasoning.to_string(),
            limit: observed.limit.map(|limit| limit.to_string()),
            wanted: allocation.limit.to_string(),
            limit_reason: allocation.limit_reason.word(),
            limit_because: allocation.limit_reason.to_string(),
            held: held.map(mbcas_market::HoldReason::word),
            held_because: held.map(ToString::to_string),
            write: write.map(|write| write.to.to_string()),
            outcome: outcome.map(|word| word.clone().into_owned()),
            price: price(plan.clearing.price),
        })
    };
    meant.filter_map(row).collect()
}

/// A time since 1970, for people.
pub(crate) fn moment(time: Duration) -> String {
    let second = i64::try_from(time.as_secs()).ok();
    let moment = second.and_then(|second| Timestamp::from_second(second).ok());
    moment.map_or_else(
        || format!("{} s", time.as_secs()),
        |moment| moment.to_string(),
    )
}

fn price(price: Price) -> String {
    if price == Price::UNBOUNDED {
        return price.to_string();
    }
    format!("{:.3}", price.as_f64())
}

#[cfg(test)]
mod tests;
