//! `mbcas resize`: one container of one pod, in place.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use mbcas_actuator::{
    Applied, ApplyError, Change, Progress, Refusal, ResizePlan, ResizeRequest, Settled, plan,
    resize, settle_watched,
};
use mbcas_api::names::{CLI_FIELD_MANAGER, FIELD_MANAGER};
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use crate::args::ResizeArgs;
use crate::connect::Cluster;
use crate::output::{self, Format, OutputError, Report};

/// Why a resize did not come about.
#[derive(Debug, Error)]
pub enum ResizeError {
    /// Another resizer owns the field.
    #[error("pod {pod} is resized by {owner}: {message}. {mend}")]
    Contested {
        /// The pod.
        pod: String,
        /// Who owns it, as far as we know him.
        owner: &'static str,
        /// The server's words.
        message: String,
        /// What to do.
        mend: &'static str,
    },
    /// Refused, by us or by the API server.
    #[error(transparent)]
    Refused(ApplyError),
    /// The pod cannot be read.
    #[error("pod {pod} cannot be read: {}", output::words(.cause))]
    Unreadable {
        /// The pod.
        pod: String,
        /// The cause.
        cause: Box<kube::Error>,
    },
    /// The result cannot be written down.
    #[error(transparent)]
    Output(#[from] OutputError),
}

impl From<ApplyError> for ResizeError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Contested { pod, message } => {
                let ours = message.contains(&format!("{FIELD_MANAGER:?} with subresource"));
                let (owner, mend) = if ours {
                    ("the MBCAS controller", FORCE_PAST_CONTROLLER)
                } else {
                    ("somebody else", FORCE_PAST_OTHERS)
                };
                Self::Contested {
                    pod,
                    owner,
                    message,
                    mend,
                }
            }
            other => Self::Refused(other),
        }
    }
}

const FORCE_PAST_CONTROLLER: &str = "--force takes the field over; the controller then leaves this container alone until the pod is replaced";
const FORCE_PAST_OTHERS: &str =
    "--force takes the field over; stop the other one first, or it will take it back";

/// How far the resize came.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// Dry run: the API server would accept it.
    WouldAccept,
    /// Dry run: it would refuse it, in these words.
    WouldRefuse(String),
    /// The spec asks for it now.
    Accepted,
    /// There was nothing to change.
    Unchanged,
    /// The status shows it, after this long.
    Done(Duration),
    /// It will not happen, or it did not in time.
    NotDone(String),
}

/// Carries out the command.
///
/// # Errors
/// [`ResizeError`] where nothing was changed.
pub async fn run(cluster: &Cluster, args: &ResizeArgs) -> Result<Report, ResizeError> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), cluster.namespace());
    let request = request(args);
    let (plan, outcome) = if args.dry_run {
        rehearse(&pods, args, &request).await?
    } else {
        let (plan, applied) = resize(&pods, &args.pod, &request, CLI_FIELD_MANAGER, false).await?;
        let outcome = match (&applied, args.wait) {
            (None, false) => Outcome::Unchanged,
            (Some(_), false) => Outcome::Accepted,
            (applied, true) => wait(&pods, &plan, applied.as_ref(), args.timeout).await,
        };
        (plan, outcome)
    };
    report(&plan, &outcome, args)
}

fn request(args: &ResizeArgs) -> ResizeRequest {
    ResizeRequest {
        container: args.container.clone(),
        cpu: args.cpu.clone(),
        memory: args.memory.clone(),
        policy: args.policy,
        take_over: args.force,
        both_if_guaranteed: true,
        lower_memory: args.allow_memory_decrease,
        // Where the API server is too old for it, it says so itself.
        pod_level: true,
        ..ResizeRequest::default()
    }
}

/// Plans, and asks the API server without changing anything. The plan is shown
/// whatever the server says.
async fn rehearse(
    pods: &Api<Pod>,
    args: &ResizeArgs,
    request: &ResizeRequest,
) -> Result<(ResizePlan, Outcome), ResizeError> {
    let shown = || format!("{}/{}", pods.namespace().unwrap_or_default(), args.pod);
    let pod = pods.get_opt(&args.pod).await;
    let pod = pod.map_err(|cause| ResizeError::Unreadable {
        pod: shown(),
        cause: Box::new(cause),
    })?;
    let pod = pod.ok_or_else(|| ResizeError::Refused(ApplyError::Gone(shown())))?;
    let first = plan(&pod, request, CLI_FIELD_MANAGER)
        .map_err(|refusal: Refusal| ResizeError::Refused(refusal.into()))?;
    Ok(
        match resize(pods, &args.pod, request, CLI_FIELD_MANAGER, true).await {
            Ok((plan, Some(_))) => (plan, Outcome::WouldAccept),
            Ok((plan, None)) => (plan, Outcome::Unchanged),
            Err(error) => (
                first,
                Outcome::WouldRefuse(ResizeError::from(error).to_string()),
            ),
        },
    )
}

async fn wait(
    pods: &Api<Pod>,
    plan: &ResizePlan,
    applied: Option<&Applied>,
    timeout: Duration,
) -> Outcome {
    let generation = applied.map_or(plan.generation, |applied| applied.generation);
    output::progress(&format!(
        "accepted; waiting at most {timeout:?} until the status of pod {}/{} shows it",
        plan.namespace, plan.pod
    ));
    let watch = |progress: &Progress| {
        if *progress != Progress::Done {
            output::progress(&format!("  {}", state(progress)));
        }
    };
    match settle_watched(pods, plan, generation, timeout, watch).await {
        Settled::Done(after) => Outcome::Done(after),
        Settled::Failed(progress) => Outcome::NotDone(state(&progress)),
        Settled::TimedOut(progress) => Outcome::NotDone(format!(
            "not within {timeout:?}; the last state was: {}. The spec still asks for it",
            state(&progress)
        )),
    }
}

fn state(progress: &Progress) -> String {
    match progress {
        Progress::Pending => "the kubelet has not shown it yet".to_owned(),
        Progress::Done => "done".to_owned(),
        Progress::Deferred(why) => format!("deferred, the node has no room now: {why}"),
        Progress::Infeasible(why) => format!("infeasible, the node can never do it: {why}"),
        Progress::Failing(why) => format!("the kubelet failed and tries again: {why}"),
        Progress::Gone => "the pod has ended or was replaced".to_owned(),
    }
}

impl Outcome {
    const fn word(&self) -> &'static str {
        match self {
            Self::WouldAccept => "would-accept",
            Self::WouldRefuse(_) => "would-refuse",
            Self::Accepted => "accepted",
            Self::Unchanged => "unchanged",
            Self::Done(_) => "done",
            Self::NotDone(_) => "not-done",
        }
    }

    const fn is_failure(&self) -> bool {
        matches!(self, Self::WouldRefuse(_) | Self::NotDone(_))
    }

    fn sentence(&self) -> String {
        match self {
            Self::WouldAccept => "The API server would accept this (asked with dryRun=All); nothing was changed.".into(),
            Self::WouldRefuse(why) => format!(
                "The plan holds, but the API server would refuse it (asked with dryRun=All): {why}"
            ),
            Self::Accepted => "Accepted: the pod's spec asks for it now, and the kubelet carries it out. \
                 To wait until the pod's status shows it, run the same command with --wait."
                .into(),
            Self::Unchanged => "Nothing to change: the pod's spec is as asked already. Its status may lag behind; --wait waits for it.".into(),
            Self::Done(after) => format!(
                "Done: the pod's status shows it after {:.2} s.",
                after.as_secs_f64()
            ),
            Self::NotDone(why) => format!("Not done: {why}."),
        }
    }
}

/// The result for programs.
#[derive(Serialize)]
struct Document<'a> {
    namespace: &'a str,
    pod: &'a str,
    container: &'a str,
    policy: String,
    manager: &'a str,
    force: bool,
    changes: Vec<ChangeDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<&'a Value>,
    outcome: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

#[derive(Serialize)]
struct ChangeDocument {
    field: String,
    from: Option<String>,
    to: String,
}

fn field(change: &Change) -> String {
    format!(
        "{}.{}",
        change.field.side.name(),
        change.field.resource.name()
    )
}

fn report(plan: &ResizePlan, outcome: &Outcome, args: &ResizeArgs) -> Result<Report, ResizeError> {
    let text = match args.output {
        Format::Json => output::json(&document(plan, outcome, args))?,
        Format::Yaml => output::yaml(&document(plan, outcome, args))?,
        Format::Table => text(plan, outcome, args.dry_run)?,
    };
    Ok(Report {
        text,
        failed: outcome.is_failure(),
    })
}

fn document<'a>(plan: &'a ResizePlan, outcome: &'a Outcome, args: &ResizeArgs) -> Document<'a> {
    let changes = plan.changes.iter().map(|change| ChangeDocument {
        field: field(change),
        from: change.from.as_ref().map(ToString::to_string),
        to: change.to.to_string(),
    });
    Document {
        namespace: &plan.namespace,
        pod: &plan.pod,
        container: &plan.container,
        policy: args.policy.to_string(),
        manager: &plan.manager,
        force: plan.force,
        changes: changes.collect(),
        patch: args.dry_run.then_some(&plan.patch),
        outcome: outcome.word(),
        message: outcome.sentence(),
        seconds: match outcome {
            Outcome::Done(after) => Some(after.as_secs_f64()),
            _ => None,
        },
    }
}

fn text(plan: &ResizePlan, outcome: &Outcome, dry_run: bool) -> Result<String, OutputError> {
    let rows = plan.changes.iter().map(|change| {
        let from = change.from.as_ref();
        vec![
            format!("{}/{}", plan.namespace, plan.pod),
            plan.container.clone(),
            field(change),
            from.map_or_else(|| "none".to_owned(), ToString::to_string),
            change.to.to_string(),
        ]
    });
    let table = output::table(&["POD", "CONTAINER", "FIELD", "FROM", "TO"], rows);
    let patch = if dry_run {
        format!(
            "# server-side apply to pods/resize, field manager {}, force {}\n{}\n",
            plan.manager,
            plan.force,
            output::yaml(&plan.patch)?
        )
    } else {
        String::new()
    };
    let sentence = outcome.sentence();
    Ok(if plan.changes.is_empty() {
        format!("{sentence}\n")
    } else {
        format!("{table}\n{patch}{sentence}\n")
    })
}

#[cfg(test)]
mod tests;
