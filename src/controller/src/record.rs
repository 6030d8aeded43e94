//! The last decisions, each on a line, in memory and within a bound: what `mbcas explain` and
//! `mbcas replay` read.
//!
//! ```text
//!  snapshots ─▶ plan ─▶ drafts ─▶ quotas, budget of writes ─▶ actuate ─▶ keep ─▶ /decisions
//!                       (as plan said)                                   (one line per node)
//! ```
//!
//! Nothing is written down before the writes are carried out. Where one cycle alone is more than
//! there is room for, its nodes take turns.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use mbcas_api::names::DECISIONS_PATH;
use mbcas_core::ContainerId;
use mbcas_market::decision::{Decision, Turn};
use mbcas_market::{HoldReason, Ledger, NodeSnapshot, Plan, Policy};
use serde::Deserialize;

use crate::actuate::Outcomes;

/// How much is kept, in bytes: some 180 decisions about 30 participants each.
pub const MOST: usize = 8 << 20;

/// What a participant takes of a line, about, in bytes.
const PARTICIPANT: usize = 1_024;

/// What a line takes beside its text and its node's name, in bytes.
const LINE: usize = 64;

/// The record. A clone is another handle to it.
#[derive(Clone, Debug)]
pub struct Record(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    lines: VecDeque<Line>,
    bytes: usize,
    most: usize,
    /// The node to begin with, after a turn that there was no room for.
    next: Option<String>,
}

#[derive(Debug)]
struct Line {
    node: Box<str>,
    text: Bytes,
}

impl Line {
    fn bytes(&self) -> usize {
        LINE + self.node.len() + self.text.len()
    }
}

/// What the decisions of one turn have in common.
#[derive(Clone, Copy, Debug)]
pub struct Occasion {
    /// The leader's term.
    pub term: i32,
    /// What made it decide.
    pub turn: Turn,
    /// The time on the market's clock.
    pub now: Duration,
    /// The rules.
    pub policy: Policy,
}

/// Plans as they were made, of the nodes of a turn that are to be recorded.
#[derive(Debug, Default)]
pub struct Drafts {
    /// In order, by their places; no plan for one that writes nothing: nobody can leave anything
    /// out of it.
    chosen: Vec<(usize, Option<Plan>)>,
    /// The first of those that there is no room for.
    next: Option<usize>,
}

impl Default for Record {
    /// With room for [`MOST`].
    fn default() -> Self {
        Self::new(MOST)
    }
}

impl Record {
    /// A record of at most `most` bytes.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Kept {
            lines: VecDeque::new(),
            bytes: 0,
            most,
            next: None,
        })))
    }

    /// Notes `plans` before anything is left out of them: of as many nodes as there can be room for.
    pub fn drafts(&self, snapshots: &[NodeSnapshot], plans: &[Plan]) -> Drafts {
        let kept = self.kept();
        let next = kept.next.as_deref();
        let first = next.map_or(0, |next| snapshots.partition_point(|s| *s.node < *next));
        let mut room = kept.most / PARTICIPANT;
        let mut order = (first..snapshots.len()).chain(0..first);
        let mut drafts = Drafts::default();
        while room > 0
            && let Some(at) = order.next()
        {
            room = room.saturating_sub(snapshots[at].participants.len());
            let draft = (!plans[at].writes.is_empty()).then(|| plans[at].clone());
            drafts.chosen.push((at, draft));
        }
        drafts.next = order.next();
        drafts
    }

    /// Keeps what was decided on `occasion`: `ledgers` are those that `plans` were made from, and
    /// `outcomes` what became of their writes. The oldest decisions make room.
    pub fn keep(
        &self,
        occasion: Occasion,
        drafts: Drafts,
        snapshots: &[NodeSnapshot],
        ledgers: &BTreeMap<String, Ledger>,
        plans: &[Plan],
        outcomes: &Outcomes,
    ) {
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let time = time.unwrap_or_default();
        let (mut text, mut fresh) = (Vec::new(), 0);
        let mut next = drafts.next;
        for (at, draft) in drafts.chosen {
            let (snapshot, plan) = (&snapshots[at], &plans[at]);
            let draft = draft.map_or(Cow::Borrowed(plan), Cow::Owned);
            let ledger = ledgers.get(&snapshot.node);
            let decision = Decision {
                time,
                term: occasion.term,
                turn: occasion.turn,
                now: occasion.now,
                policy: occasion.policy,
                snapshot: Cow::Borrowed(snapshot),
                ledger: ledger.map_or_else(|| Cow::Owned(Ledger::default()), Cow::Borrowed),
                outcomes: became(&draft, plan, outcomes),
                plan: draft,
            };
            text.clear();
            if let Err(error) = decision.append_to(&mut text) {
                tracing::warn!(node = snapshot.node, %error, "A decision is not recorded");
                continue;
            }
            text.push(b'\n');
            let line = Line {
                node: snapshot.node.as_str().into(),
                text: Bytes::copy_from_slice(&text),
            };
            let mut kept = self.kept();
            if line.bytes() > kept.most {
                continue;
            }
            fresh += line.bytes();
            if fresh > kept.most {
                // It would push out what this turn has written down already.
                next = Some(at);
                break;
            }
            kept.push(line);
        }
        if let Some(next) = next {
            self.kept().next = Some(snapshots[next].node.clone());
        }
    }

    /// The lines about `node`, or about all, the oldest first.
    pub fn lines(&self, node: Option<&str>) -> Vec<Bytes> {
        let kept = self.kept();
        let lines = kept.lines.iter();
        let lines = lines.filter(|line| node.is_none_or(|node| node == &*line.node));
        lines.map(|line| line.text.clone()).collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Each line is put in or taken out whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, line: Line) {
        self.bytes += line.bytes();
        self.lines.push_back(line);
        while self.bytes > self.most {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
        }
    }
}

/// What became of the writes of `draft`, of which `plan` has those that were left.
fn became<'a>(
    draft: &Plan,
    plan: &Plan,
    outcomes: &Outcomes,
) -> BTreeMap<ContainerId, Cow<'a, str>> {
    let word = |id: &ContainerId| {
        let is_dearer = |(held, reason): &(ContainerId, HoldReason)| {
            held == id && matches!(reason, HoldReason::WriteBudget { .. })
        };
        if let Some(outcome) = outcomes.get(id) {
            return outcome.word();
        }
        if plan.held.iter().any(is_dearer) {
            return "write_budget";
        }
        "quota"
    };
    let writes = draft.writes.iter();
    writes
        .map(|write| (write.id.clone(), Cow::Borrowed(word(&write.id))))
        .collect()
}

/// What is asked of the record.
#[derive(Debug, Deserialize)]
struct Asked {
    node: Option<String>,
}

/// The record as lines of JSON, of all nodes or of the one in `?node=`.
pub fn router(record: Record) -> Router {
    Router::new()
        .route(DECISIONS_PATH, get(decisions))
        .with_state(record)
}

async fn decisions(State(record): State<Record>, Query(asked): Query<Asked>) -> Response {
    let lines = record.lines(asked.node.as_deref()).into_iter();
    let body = Body::from_stream(futures::stream::iter(lines.map(Ok::<_, Infallible>)));
    ([(CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

#[cfg(test)]
mod tests;
