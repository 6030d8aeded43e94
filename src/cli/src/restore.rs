//! `mbcas restore`: pods get the CPU resources back that they had before MBCAS.
//!
//! The chart's pre-delete hook runs this before anything is removed; anyone can
//! run it at any later time, since the original resources stand on the pods.
//! It writes as the controller does, because the controller owns the fields.

mod stop;
mod vacancy;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, ListParams};
use mbcas_actuator::restore::{self, Obstacle, Step, decide};
use mbcas_actuator::{ApplyError, ResizePlan, Settled, resize, settle};
use mbcas_api::names::{FIELD_MANAGER, ORIGINAL_ANNOTATION};
use mbcas_core::quantity::Quantity;
use mbcas_core::units::MilliCpu;
use serde::Serialize;
use thiserror::Error;
use tokio::time::Instant;

use crate::args::RestoreArgs;
use crate::connect::{Cluster, objects};
use crate::output::{self, Format, Level, OutputError, Report};
use vacancy::Vacancy;

/// Pods that are restored at the same time.
const AT_ONCE: usize = 16;
/// How often one write is tried when the API server is busy or does not answer.
const ATTEMPTS: u32 = 3;
/// How long a pod's status may take to show what was accepted.
const CONFIRMATION: Duration = Duration::from_secs(20);
/// Pods per answer of the API server.
const PAGE: u32 = 500;

/// Why nothing was restored.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The pods cannot be read.
    #[error("reading {what} failed: {}", output::words(.cause))]
    Unreadable {
        /// What was read.
        what: String,
        /// The cause.
        cause: Box<kube::Error>,
    },
    /// There is no such pod.
    #[error("there is no pod {0}")]
    NoSuchPod(String),
    /// MBCAS never touched it.
    #[error(
        "pod {0} carries no annotation {ORIGINAL_ANNOTATION}: MBCAS has not admitted it, so there is nothing to restore"
    )]
    NotAdmitted(String),
    /// The controller goes on.
    #[error(transparent)]
    Stop(#[from] stop::StopError),
    /// The result cannot be written down.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// What became of one container, or of a pod as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The pod, with its namespace.
    pub pod: String,
    /// The container; empty where the pod as a whole is meant.
    pub container: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What changed, or why it did not.
    pub detail: String,
}

/// What became of one container, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The status shows the original amounts.
    Restored,
    /// Dry run: the API server would accept it.
    WouldRestore,
    /// Nothing was to be done.
    AsBefore,
    /// The pod is gone.
    Gone,
    /// Somebody else resizes this pod: what it has now is not ours.
    LeftAlone,
    /// Accepted, but the status did not show it in time.
    Unconfirmed,
    /// Its turn did not come in the time that was given.
    NotReached,
    /// It did not work.
    Failed,
}

impl Outcome {
    const fn word(self) -> &'static str {
        match self {
            Self::Restored => "restored",
            Self::WouldRestore => "would restore",
            Self::AsBefore => "as before",
            Self::Gone => "gone",
            Self::LeftAlone => "left alone",
            Self::Unconfirmed => "unconfirmed",
            Self::NotReached => "not reached",
            Self::Failed => "failed",
        }
    }

    const fn level(self) -> Level {
        match self {
            Self::Restored | Self::WouldRestore | Self::AsBefore | Self::Gone => Level::Ok,
            Self::LeftAlone | Self::Unconfirmed => Level::Warn,
            Self::NotReached | Self::Failed => Level::Fail,
        }
    }
}

/// Carries out the command.
///
/// # Errors
/// [`RestoreError`] where nothing was restored.
pub async fn run(cluster: &Cluster, args: &RestoreArgs) -> Result<Report, RestoreError> {
    let vacancy = match vacancy(cluster, args).await? {
        Some(Err(leads)) => {
            let text = format!("{leads}: nothing is restored.\n");
            return Ok(Report {
                text,
                failed: false,
            });
        }
        Some(Ok(vacancy)) => Some(vacancy),
        None => None,
    };
    let end = args.within.map(|time| Instant::now() + time);
    let stopping = args
        .controller_namespace
        .as_deref()
        .filter(|_| args.stop_controller);
    match stopping {
        Some(namespace) if args.dry_run => {
            output::progress(&format!(
                "would stop the controller in namespace {namespace}"
            ));
        }
        Some(namespace) => stop::stop_controller(&cluster.client, namespace).await?,
        None if vacancy.is_some() => {}
        None => output::progress(
            "note: a running controller will resize these pods again; --stop-controller stops it first",
        ),
    }
    let pods = pods(cluster, args).await?;
    output::progress(&format!(
        "pods that carry their original resources: {}",
        pods.len()
    ));
    let allocatable = allocatable(&cluster.client, &pods).await;
    let is_led = AtomicBool::new(false);
    let mut restoring = Vec::new();
    for pod in &pods {
        restoring.push(async {
            if is_led.load(Ordering::Relaxed) {
                vec![not_reached(pod, "somebody leads again, and resizes it")]
            } else if end.is_some_and(|end| Instant::now() >= end) {
                let over = "the time that was given is over; mbcas restore --all goes on with it";
                vec![not_reached(pod, over)]
            } else {
                restore(&cluster.client, pod, &allocatable, args.dry_run).await
            }
        });
    }
    let rows = futures::stream::iter(restoring).buffered(AT_ONCE);
    let mut rows = std::pin::pin!(rows.collect::<Vec<Vec<Row>>>());
    let rows = match &vacancy {
        None => rows.await,
        Some(vacancy) => tokio::select! {
            rows = &mut rows => rows,
            _ = vacancy.ended() => {
                is_led.store(true, Ordering::Relaxed);
                rows.await
            }
        },
    };
    let rows = rows.concat();
    if let Some(vacancy) = &vacancy {
        vacancy.tell(&rows).await;
    }
    report(&rows, args)
}

/// Whether nobody leads, if that was asked.
async fn vacancy(
    cluster: &Cluster,
    args: &RestoreArgs,
) -> Result<Option<Result<Vacancy, String>>, RestoreError> {
    let (Some(least), Some(namespace)) = (args.unled_for, &args.controller_namespace) else {
        return Ok(None);
    };
    let found = Vacancy::of(&cluster.client, namespace, least).await?;
    Ok(Some(found))
}

/// The pods to look at: the named one, or all that MBCAS has admitted and that have not ended.
async fn pods(cluster: &Cluster, args: &RestoreArgs) -> Result<Vec<Pod>, RestoreError> {
    if let Some(name) = &args.pod {
        let namespace = cluster.namespace();
        let shown = format!("{namespace}/{name}");
        let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
        let pod = api
            .get_opt(name)
            .await
            .map_err(|cause| RestoreError::Unreadable {
                what: format!("pod {shown}"),
                cause: Box::new(cause),
            })?;
        let pod = pod.ok_or_else(|| RestoreError::NoSuchPod(shown.clone()))?;
        return if is_admitted(&pod) {
            Ok(vec![pod])
        } else {
            Err(RestoreError::NotAdmitted(shown))
        };
    }
    let api: Api<Pod> = objects(&cluster.client, cluster.named.as_deref());
    let mut admitted = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = api
            .list(&params)
            .await
            .map_err(|cause| RestoreError::Unreadable {
                what: "the list of pods".to_owned(),
                cause: Box::new(cause),
            })?;
        let found = page
            .items
            .into_iter()
            .filter(|pod| is_admitted(pod) && !restore::has_ended(pod));
        admitted.extend(found.map(|mut pod| {
            // By far the largest part, and read again before the write.
            pod.metadata.managed_fields = None;
            pod
        }));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(admitted),
        }
    }
}

fn is_admitted(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.is_some_and(|a| a.contains_key(ORIGINAL_ANNOTATION))
}

/// What the nodes of those pods have that had no limit. A node that cannot be
/// read is left out, and its pods say so.
async fn allocatable(client: &Client, pods: &[Pod]) -> BTreeMap<String, MilliCpu> {
    let nodes: Api<Node> = Api::all(client.clone());
    let mut allocatable = BTreeMap::new();
    for pod in pods {
        let Err(Obstacle::NoAllocatable { node, .. }) = decide(pod, &allocatable) else {
            continue;
        };
        let answer = nodes.get(&node).await;
        let cpu = answer.ok().and_then(|node| {
            let amount = node.status?.allocatable?.remove("cpu")?;
            Quantity::parse(&amount.0).ok()?.as_cpu()
        });
        allocatable.extend(cpu.map(|cpu| (node, cpu)));
    }
    allocatable
}

fn not_reached(pod: &Pod, why: &str) -> Row {
    Row {
        pod: restore::shown(pod),
        container: String::new(),
        outcome: Outcome::NotReached,
        detail: why.to_owned(),
    }
}

async fn restore(
    client: &Client,
    pod: &Pod,
    allocatable: &BTreeMap<String, MilliCpu>,
    dry_run: bool,
) -> Vec<Row> {
    let shown = restore::shown(pod);
    let row = |container: &str, outcome, detail: String| Row {
        pod: shown.clone(),
        container: container.to_owned(),
        outcome,
        detail,
    };
    let steps = match decide(pod, allocatable) {
        Ok(steps) if steps.is_empty() => return vec![row("", Outcome::AsBefore, String::new())],
        Ok(steps) => steps,
        Err(obstacle) => return vec![row("", Outcome::Failed, obstacle.to_string())],
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut rows = Vec::new();
    for step in &steps {
        let (outcome, detail) = carry_out(&pods, pod, step, dry_run).await;
        rows.push(row(&step.container, outcome, detail));
    }
    rows
}

async fn carry_out(pods: &Api<Pod>, pod: &Pod, step: &Step, dry_run: bool) -> (Outcome, String) {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let request = step.request(pod.metadata.uid.clone());
    let mut attempt = 1;
    let answer = loop {
        let pause = match resize(pods, name, &request, FIELD_MANAGER, dry_run).await {
            Err(ApplyError::Busy(pause)) if attempt < ATTEMPTS => pause,
            Err(ApplyError::Failed { .. }) if attempt < ATTEMPTS => Duration::from_secs(1),
            answer => break answer,
        };
        tokio::time::sleep(pause).await;
        attempt += 1;
    };
    match answer {
        Ok((_, None)) => (Outcome::AsBefore, String::new()),
        Ok((plan, Some(_))) if dry_run => (Outcome::WouldRestore, step.detail(&plan)),
        Ok((plan, Some(applied))) => confirm(pods, step, &plan, applied.generation).await,
        Err(ApplyError::Gone(_)) => (Outcome::Gone, String::new()),
        Err(ApplyError::Contested { message, .. }) => (
            Outcome::LeftAlone,
            format!("somebody else resizes this pod: {message}"),
        ),
        Err(error) => (Outcome::Failed, error.to_string()),
    }
}

async fn confirm(
    pods: &Api<Pod>,
    step: &Step,
    plan: &ResizePlan,
    generation: Option<i64>,
) -> (Outcome, String) {
    let detail = step.detail(plan);
    match settle(pods, plan, generation, CONFIRMATION).await {
        Settled::Done(_) => (Outcome::Restored, detail),
        Settled::Failed(mbcas_actuator::Progress::Gone) => (Outcome::Gone, String::new()),
        Settled::Failed(progress) => (Outcome::Failed, format!("{detail}: {progress:?}")),
        Settled::TimedOut(progress) => (
            Outcome::Unconfirmed,
            format!(
                "{detail}: accepted, not shown by the status within {CONFIRMATION:?} ({progress:?})"
            ),
        ),
    }
}

fn report(rows: &[Row], args: &RestoreArgs) -> Result<Report, RestoreError> {
    let least = if args.pod.is_some() {
        Level::Warn
    } else {
        Level::Fail
    };
    let failed = !args.tolerate_failures && rows.iter().any(|row| row.outcome.level() >= least);
    let text = match args.output {
        Format::Json => output::json(&rows)?,
        Format::Yaml => output::yaml(&rows)?,
        Format::Table if rows.is_empty() => {
            "No pod carries original resources: nothing to restore.\n".to_owned()
        }
        Format::Table => text(rows, output::takes_colour()),
    };
    Ok(Report { text, failed })
}

fn text(rows: &[Row], colour: bool) -> String {
    let cells = rows.iter().map(|row| {
        let cells = [row.outcome.word(), &row.pod, &row.container, &row.detail];
        (row.outcome.level(), cells.map(str::to_owned).to_vec())
    });
    output::levels(&["OUTCOME", "POD", "CONTAINER", "DETAIL"], cells, colour)
}

#[cfg(test)]
mod tests;
