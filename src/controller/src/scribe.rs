//! What the loop writes besides resizes: statuses of BudgetPolicies, Events about other
//! autoscalers, recommendations on pods.
//!
//! None of it is needed for the next cycle, so nothing here fails one: what the API server
//! does not take is logged and counted, and, but for Events about pods, tried again later. Like every write it passes the
//! [`fence`](crate::lease::fence).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource};
use mbcas_api::budget_policy::BudgetPolicyStatus;
use mbcas_api::names::{
    RECOMMENDATION_ANNOTATION, RECOMMENDATION_FIELD_MANAGER, STATUS_FIELD_MANAGER,
};
use mbcas_api::{BUDGET_POLICY_NAME, BudgetPolicy};
use mbcas_core::{ContainerId, PodId};
use mbcas_market::Plan;
use serde_json::json;
use thiserror::Error;
use tokio::time::Instant;

use crate::autoscalers::{Encounters, Met, MetKind};
use crate::cluster::View;
use crate::govern::Governed;
use crate::lease::Leader;
use crate::lease::fence::fenced;
use crate::leaving::{GivenBack, Leaver};
use crate::metrics::Metrics;
use crate::permit::Restraints;
use crate::recommend::{Recommendation, Recommended};
use crate::status::{Held, held, is_due};

/// How many writes are on their way at once.
const AT_ONCE: usize = 8;

/// Of how many containers that another resizer owns a cycle tells; the log and the metrics have all.
const CONTESTED: usize = 20;

/// The longest note that an Event may have, in bytes.
const NOTE: usize = 1_024;

/// How long all writes of a cycle may take together.
const PHASE: Duration = Duration::from_secs(5);

/// Who writes it.
pub struct Scribe {
    client: Client,
    leader: Leader,
    pen: Option<Pen>,
    recommends: bool,
    started: Instant,
    statuses: BTreeMap<String, (Instant, BudgetPolicyStatus)>,
    recommended: Recommended,
    told: BTreeSet<Met>,
}

/// A container whose limit another resizer owns.
#[derive(Clone, Debug)]
pub struct Contested {
    /// The container.
    pub id: ContainerId,
    /// The API server's words.
    pub words: String,
}

/// What a cycle has to tell.
#[derive(Clone, Copy, Debug)]
pub struct News<'a> {
    /// The cluster as it was seen.
    pub view: &'a View,
    /// What was decided.
    pub plans: &'a [Plan],
    /// What bounded it.
    pub governed: &'a Governed,
    /// Whoever was let go.
    pub leavers: &'a [Leaver],
    /// Whoever was found to be another resizer's.
    pub contested: &'a [Contested],
}

/// What writes in one term and in no other.
#[derive(Clone)]
struct Pen {
    epoch: i32,
    client: Client,
    reporter: Reporter,
    /// Tells the same once, and then only how often.
    recorder: Recorder,
}

impl Pen {
    fn new(client: &Client, leader: &Leader, epoch: i32) -> Self {
        let reporter = Reporter {
            controller: "mbcas-controller".to_owned(),
            instance: std::env::var("HOSTNAME").ok(),
        };
        let client = fenced(client, leader, epoch);
        Self {
            epoch,
            recorder: Recorder::new(client.clone(), reporter.clone()),
            reporter,
            client,
        }
    }
}

/// Why something was not written.
#[derive(Debug, Error)]
enum NotWritten {
    #[error("the API server did not answer in time")]
    Late,
    #[error("the API server refused: {0}")]
    Refused(#[source] kube::Error),
}

/// One write.
enum Line {
    Status(String, BudgetPolicyStatus),
    Recommendation(Recommendation),
    Met(Met),
    GaveBack(Leaver),
    Contested(Contested),
}

impl Line {
    /// A word for metrics, from a closed set.
    const fn word(&self) -> &'static str {
        match self {
            Self::Status(..) => "status",
            Self::Recommendation(_) => "recommendation",
            Self::Met(_) | Self::GaveBack(_) | Self::Contested(_) => "event",
        }
    }
}

impl Scribe {
    /// Writes through `client` while `leader` says that it may; recommendations only where it `recommends`.
    pub fn new(client: Client, leader: Leader, recommends: bool) -> Self {
        Self {
            client,
            leader,
            pen: None,
            recommends,
            started: Instant::now(),
            statuses: BTreeMap::new(),
            recommended: Recommended::default(),
            told: BTreeSet::new(),
        }
    }

    /// Writes what of the `news` of a cycle in the term `epoch` is worth it.
    pub async fn write(&mut self, news: News<'_>, metrics: &Metrics, epoch: i32) {
        if self.leader.epoch() != Some(epoch) {
            return;
        }
        let pen = self.pen(epoch);
        let (plans, governed) = (news.plans, news.governed);
        let lines: Vec<_> = self
            .statuses(news.view, plans, governed)
            .into_iter()
            .chain(self.events(&governed.encounters))
            .chain(self.recommendations(plans, &governed.restraints))
            .chain(gave_back(news.leavers))
            .chain(
                news.contested
                    .iter()
                    .take(CONTESTED)
                    .cloned()
                    .map(Line::Contested),
            )
            .collect();
        for (line, written) in lines.iter().zip(pen.write_all(&lines).await) {
            match (line, written) {
                (Line::Met(met), Ok(())) => drop(self.told.insert(met.clone())),
                (_, Ok(())) => {}
                (_, Err(error)) => {
                    let what = line.word();
                    metrics.unwritten.with_label_values(&[what]).inc();
                    tracing::warn!(what, %error, "A note to the cluster was not taken");
                }
            }
        }
    }

    /// The statuses that are due.
    fn statuses(&mut self, view: &View, plans: &[Plan], governed: &Governed) -> Vec<Line> {
        let (policies, now) = (&view.policies, Timestamp::now());
        self.statuses
            .retain(|namespace, _| policies.contains_key(namespace));
        let all = held(&governed.asked, plans, &governed.restraints);
        let nothing = Held::default();
        let due = policies.iter().filter_map(|(namespace, policy)| {
            let takes_part = view.namespaces.contains_key(namespace);
            let held = all.get(namespace).unwrap_or(&nothing);
            let status = policy.said(takes_part, held, now);
            let tried = self.statuses.get(namespace);
            let tried = tried.map(|(at, tried)| (at.elapsed(), tried));
            is_due(&policy.status, tried, &status).then(|| (namespace.clone(), status))
        });
        let due: Vec<_> = due.collect();
        for (namespace, status) in &due {
            let tried = (Instant::now(), status.clone());
            self.statuses.insert(namespace.clone(), tried);
        }
        due.into_iter()
            .map(|(namespace, status)| Line::Status(namespace, status))
            .collect()
    }

    /// The autoscalers that nobody was told about; one that is met again later is told again.
    fn events(&mut self, encounters: &Encounters) -> Vec<Line> {
        self.told.retain(|met| encounters.met.contains(met));
        let new = encounters.met.difference(&self.told);
        new.cloned().map(Line::Met).collect()
    }

    fn recommendations(&mut self, plans: &[Plan], restraints: &Restraints) -> Vec<Line> {
        if !self.recommends {
            return Vec::new();
        }
        let now = self.started.elapsed();
        let due = self.recommended.due(plans, restraints, now);
        due.into_iter().map(Line::Recommendation).collect()
    }

    /// The pen of this term; one remembers for as long which Events it has written.
    fn pen(&mut self, epoch: i32) -> Pen {
        let last = self.pen.take().filter(|pen| pen.epoch == epoch);
        let pen = last.unwrap_or_else(|| Pen::new(&self.client, &self.leader, epoch));
        self.pen.insert(pen).clone()
    }
}

impl Pen {
    /// What became of each of `lines`.
    async fn write_all(&self, lines: &[Line]) -> Vec<Result<(), NotWritten>> {
        let deadline = Instant::now() + PHASE;
        let writes: Vec<_> = lines
            .iter()
            .map(|line| tokio::time::timeout_at(deadline, self.write_line(line)).boxed())
            .collect();
        let written = futures::stream::iter(writes).buffered(AT_ONCE);
        written
            .map(|written| {
                written
                    .map_err(|_| NotWritten::Late)?
                    .map_err(NotWritten::Refused)
            })
            .collect()
            .await
    }

    async fn write_line(&self, line: &Line) -> Result<(), kube::Error> {
        match line {
            Line::Status(namespace, status) => self.write_status(namespace, status).await,
            Line::Recommendation(recommendation) => self.recommend(recommendation).await,
            Line::Met(met) => self.recorder.publish(&event(met), &reference(met)).await,
            Line::GaveBack(leaver) => self.tell(returned(leaver), &pod(&leaver.pod)).await,
            Line::Contested(contested) => {
                let about = pod(&contested.id.pod);
                self.tell(left_to(contested), &about).await
            }
        }
    }

    /// An Event of its own: a recorder that remembers would repeat what it has said of the pod before.
    async fn tell(&self, mut event: Event, about: &ObjectReference) -> Result<(), kube::Error> {
        if let Some(note) = &mut event.note {
            cut(note);
        }
        let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
        recorder.publish(&event, about).await
    }

    async fn write_status(
        &self,
        namespace: &str,
        status: &BudgetPolicyStatus,
    ) -> Result<(), kube::Error> {
        let policies = Api::<BudgetPolicy>::namespaced(self.client.clone(), namespace);
        let body = json!({
            "apiVersion": BudgetPolicy::api_version(&()),
            "kind": BudgetPolicy::kind(&()),
            "metadata": {"namespace": namespace, "name": BUDGET_POLICY_NAME},
            "status": status,
        });
        // Nobody else has a word in it.
        let params = PatchParams::apply(STATUS_FIELD_MANAGER).force();
        let name = BUDGET_POLICY_NAME;
        policies
            .patch_status(name, &params, &Patch::Apply(body))
            .await?;
        Ok(())
    }

    /// Through the subresource: `patch` on pods themselves would allow to change what they run.
    async fn recommend(&self, recommendation: &Recommendation) -> Result<(), kube::Error> {
        let Recommendation { pod, text } = recommendation;
        let pods = Api::<Pod>::namespaced(self.client.clone(), &pod.namespace);
        let body = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid,
                         "annotations": {RECOMMENDATION_ANNOTATION: text}},
        });
        let params = PatchParams::apply(RECOMMENDATION_FIELD_MANAGER).force();
        pods.patch_status(&pod.name, &params, &Patch::Apply(body))
            .await?;
        Ok(())
    }
}

/// What people are told of those that were let go, if anything was tried.
fn gave_back(leavers: &[Leaver]) -> impl Iterator<Item = Line> {
    let told = leavers.iter().filter(|one| match one.outcome {
        GivenBack::Done | GivenBack::Failed => true,
        // Some of its containers had their turn.
        GivenBack::NotReached => !one.words.is_empty(),
        GivenBack::AsBefore | GivenBack::NotOurs => false,
    });
    told.cloned().map(Line::GaveBack)
}

fn returned(leaver: &Leaver) -> Event {
    let by = leaver.by.word();
    let (type_, reason, what) = match leaver.outcome {
        GivenBack::Failed => {
            let what = "not all that it had could be given back, which is tried again";
            (EventType::Warning, "NotRestored", what)
        }
        GivenBack::NotReached => {
            let what = "it is given back what it had, of which the rest follows";
            (EventType::Normal, "Restored", what)
        }
        _ => {
            let what = "it is given back what it had";
            (EventType::Normal, "Restored", what)
        }
    };
    let note = format!(
        "The CPU market lets it go ({by}), and {what}: {}",
        leaver.words
    );
    resize_event(type_, reason, note)
}

fn left_to(contested: &Contested) -> Event {
    let note = format!(
        "The CPU limit of container {} is another resizer's, so MBCAS leaves it alone for five minutes: {}",
        contested.id.container, contested.words
    );
    resize_event(EventType::Warning, "AnotherResizer", note)
}

/// What is too long for a note is cut: an Event with one is refused whole.
fn cut(note: &mut String) {
    note.truncate(note.floor_char_boundary(NOTE));
}

fn resize_event(type_: EventType, reason: &str, note: String) -> Event {
    Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note),
        action: "Resize".to_owned(),
        secondary: None,
    }
}

fn pod(id: &PodId) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(id.namespace.clone()),
        name: Some(id.name.clone()),
        uid: Some(id.uid.clone()),
        ..ObjectReference::default()
    }
}

/// What people are told about another autoscaler.
fn event(met: &Met) -> Event {
    let (reason, note) = match met.kind {
        MetKind::Vertical => (
            "VerticalAutoscaler",
            "It sets the CPU of containers that take part in MBCAS's market, so MBCAS only recommends there. \
             Set updateMode to Off, or take cpu out of controlledResources, to let MBCAS resize them.",
        ),
        MetKind::Horizontal => (
            "HorizontalAutoscaler",
            "It scales pods that take part in MBCAS's market by their CPU. A limit that binds holds their use down, and \
             with it what this autoscaler sees; MBCAS leaves their requests alone.",
        ),
    };
    resize_event(EventType::Warning, reason, note.to_owned())
}

fn reference(met: &Met) -> ObjectReference {
    let (api_version, kind) = match met.kind {
        MetKind::Vertical => ("autoscaling.k8s.io/v1", "VerticalPodAutoscaler"),
        MetKind::Horizontal => ("autoscaling/v2", "HorizontalPodAutoscaler"),
    };
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        namespace: Some(met.namespace.clone()),
        name: Some(met.name.clone()),
        uid: Some(met.uid.clone()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests;
