//! `mbcas check`: can this cluster do it, and is MBCAS well.
//!
//! [`facts`] asks the cluster and judges nothing; [`rows`] judges the facts and
//! asks nothing. [`admission`] and [`metrics`] try it instead.

pub mod admission;
pub mod facts;
pub mod metrics;
pub mod rows;

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::args::CheckArgs;
use crate::connect::Cluster;
use crate::output::{self, Format, Level, OutputError, Report};

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// How good it is.
    pub level: Level,
    /// What was found.
    pub what: String,
    /// What to do about it; empty where there is nothing to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

impl Row {
    /// As it should be.
    pub fn ok(what: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            what: what.into(),
            hint: String::new(),
        }
    }

    /// Works, but worth knowing.
    pub fn warn(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            level: Level::Warn,
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// Does not work.
    pub fn fail(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            level: Level::Fail,
            what: what.into(),
            hint: hint.into(),
        }
    }
}

/// Carries out the command. What cannot be read is a row of the result.
///
/// # Errors
/// [`OutputError`] if the result cannot be written down.
pub async fn run(cluster: &Cluster, args: &CheckArgs) -> Result<Report, OutputError> {
    if args.admission {
        let (client, namespace) = (&cluster.client, cluster.namespace());
        let mut rows = until_good(|| admission::admission(client, namespace)).await;
        if let Some(namespace) = &args.metrics_of {
            rows.extend(until_good(|| metrics::metrics(client, namespace)).await);
        }
        return report(&rows, args.output);
    }
    let scope = cluster.named.as_deref();
    let mut rows = rows::cluster(&facts::cluster(&cluster.client, scope).await);
    // Where nothing answers, everything else would only repeat it.
    let answers = rows.first().is_none_or(|row| row.level != Level::Fail);
    if !args.pre && answers {
        let now = jiff::Timestamp::now();
        rows.extend(rows::installation(
            &facts::installation(&cluster.client).await,
            now,
        ));
        rows.extend(rows::participation(
            &facts::participation(&cluster.client, scope).await,
        ));
    }
    report(&rows, args.output)
}

/// How long something is tried until it goes well: the API server hears of a new
/// namespace and of new certificates a moment late, and pods start one after the other.
const PATIENCE: Duration = Duration::from_secs(30);
/// The time between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// The rows of the first attempt without a failure, or of the last one.
async fn until_good<F: Future<Output = Vec<Row>>>(attempt: impl Fn() -> F) -> Vec<Row> {
    let last = Instant::now() + PATIENCE;
    loop {
        let rows = attempt().await;
        let good = rows.iter().all(|row| row.level != Level::Fail);
        if good || Instant::now() + PAUSE >= last {
            return rows;
        }
        sleep(PAUSE).await;
    }
}

fn report(rows: &[Row], format: Format) -> Result<Report, OutputError> {
    let failed = rows.iter().any(|row| row.level == Level::Fail);
    let text = match format {
        Format::Json => output::json(&rows)?,
        Format::Yaml => output::yaml(&rows)?,
        Format::Table => text(rows, output::takes_colour()),
    };
    Ok(Report { text, failed })
}

/// The rows, each hint on a line of its own below its row, and a sum.
fn text(rows: &[Row], colour: bool) -> String {
    let line = |row: &Row| {
        let word = output::word(row.level, colour);
        let hint = match row.hint.as_str() {
            "" => String::new(),
            hint => format!("      {}\n", output::printable(hint)),
        };
        format!("{word}  {}\n{hint}", output::printable(&row.what))
    };
    let lines: Vec<String> = rows.iter().map(line).collect();
    let count = |level| rows.iter().filter(|row| row.level == level).count();
    let (ok, warn, fail) = (count(Level::Ok), count(Level::Warn), count(Level::Fail));
    format!(
        "{}\n{ok} ok, {warn} to know, {fail} failed\n",
        lines.concat()
    )
}

#[cfg(test)]
mod tests;
