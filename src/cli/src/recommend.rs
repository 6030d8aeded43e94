//! `mbcas recommend`: the limits that the market would set, whether or not it sets them.
//!
//! They are the leader's own, of its last cycle: read from its metrics through
//! the API server, so that no way to the pods' network is needed.

use std::collections::BTreeMap;

use mbcas_core::exposition::{Sample, samples};
use mbcas_core::quantity::Quantity;
use mbcas_core::units::MilliCpu;
use serde::Serialize;
use thiserror::Error;

use crate::args::RecommendArgs;
use crate::connect::Cluster;
use crate::leader::{Leader, LeaderError};
use crate::output::{self, Format, OutputError, Report};

/// Why there are no recommendations.
#[derive(Debug, Error)]
pub enum RecommendError {
    /// The leader cannot be asked.
    #[error(transparent)]
    Leader(#[from] LeaderError),
    /// Its metrics hold no containers.
    #[error("pod {0} publishes no series per container: set controller.podMetrics to true")]
    NoSeries(String),
    /// The result cannot be written down.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// What the market says about one container.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its namespace.
    pub namespace: String,
    /// Its pod.
    pub pod: String,
    /// Its name.
    pub container: String,
    /// Its limit as it runs; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// What its limit would be.
    pub recommended: String,
    /// Why, in one word of a closed set.
    pub reason: String,
    /// What it is promised.
    pub grant: String,
    /// What it used over the kubelet's last window; absent while that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
}

/// Carries out the command.
///
/// # Errors
/// [`RecommendError`].
pub async fn run(cluster: &Cluster, args: &RecommendArgs) -> Result<Report, RecommendError> {
    let leader = Leader::find(&cluster.client, &args.installation).await?;
    let page = leader.read("/metrics").await?;
    if samples(&page, "mbcas_alloc_cpu_mcores").next().is_none()
        && samples(&page, "mbcas_participants").any(|node| node.value > 0.0)
    {
        return Err(RecommendError::NoSeries(leader.pod));
    }
    let within = (!args.all_namespaces).then(|| cluster.namespace());
    let rows = rows(&page, within, args.pod.as_deref());
    let text = match args.output {
        Format::Json => output::json(&rows)?,
        Format::Yaml => output::yaml(&rows)?,
        Format::Table if rows.is_empty() => {
            "no container takes part in the market here: is the namespace labelled? See mbcas check\n"
                .to_owned()
        }
        Format::Table => table(rows),
    };
    Ok(Report {
        text,
        failed: false,
    })
}

type Key = (String, String, String);

fn key(sample: &Sample<'_>) -> Option<Key> {
    let of = |name| sample.label(name).map(str::to_owned);
    Some((of("namespace")?, of("pod")?, of("container")?))
}

/// What `page` says about the containers of one namespace or of all, and of one pod or of all, by name.
fn rows(page: &str, namespace: Option<&str>, pod: Option<&str>) -> Vec<Row> {
    let of = |metric: &str| -> BTreeMap<Key, String> {
        let found = samples(page, metric);
        found
            .filter_map(|sample| Some((key(&sample)?, amount(sample.value))))
            .collect()
    };
    let (limits, grants, usage) = (
        of("mbcas_limit_cpu_mcores"),
        of("mbcas_alloc_cpu_mcores"),
        of("mbcas_usage_cpu_mcores"),
    );
    let mut rows: Vec<Row> = samples(page, "mbcas_recommended_cpu_mcores")
        .filter_map(|sample| {
            let key = key(&sample)?;
            let row = Row {
                limit: limits.get(&key).cloned(),
                recommended: amount(sample.value),
                reason: sample.label("reason")?.to_owned(),
                grant: grants.get(&key)?.clone(),
                usage: usage.get(&key).cloned(),
                namespace: key.0,
                pod: key.1,
                container: key.2,
            };
            let is_meant = namespace.is_none_or(|only| only == row.namespace)
                && pod.is_none_or(|only| only == row.pod);
            is_meant.then_some(row)
        })
        .collect();
    rows.sort_by(|a, b| {
        (&a.namespace, &a.pod, &a.container).cmp(&(&b.namespace, &b.pod, &b.container))
    });
    rows
}

/// Millicores as Kubernetes writes them.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole millicores, not below zero
fn amount(millicores: f64) -> String {
    let cpu = MilliCpu::new(millicores.max(0.0).round() as u64);
    Quantity::from(cpu).canonical()
}

fn table(rows: Vec<Row>) -> String {
    let header = [
        "NAMESPACE",
        "POD",
        "CONTAINER",
        "LIMIT",
        "RECOMMENDED",
        "REASON",
        "GRANT",
        "USAGE",
    ];
    let none = || "-".to_owned();
    let rows = rows.into_iter().map(|row| {
        vec![
            row.namespace,
            row.pod,
            row.container,
            row.limit.unwrap_or_else(none),
            row.recommended,
            row.reason,
            row.grant,
            row.usage.unwrap_or_else(none),
        ]
    });
    output::table(&header, rows)
}

#[cfg(test)]
mod tests;
