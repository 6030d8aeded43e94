//! Pods whose limits the market has moved and does not move any more get back what they had.
//!
//! | let go by | kept as they are by |
//! | --- | --- |
//! | its own `mbcas.enabled: "false"`, its namespace without the label | the controller's mode, the switch |
//! | a BudgetPolicy's mode, its own, the canary | a frozen namespace that has the label, a node that is labelled out |
//! |  | another that sets a participant's CPU |
//!
//! What lets go says that the market is over for this pod; what keeps says that nothing is to be written now. Only
//! what MBCAS itself has written and nobody since is taken back.

use std::collections::{BTreeMap, BTreeSet};

use mbcas_api::NotParticipant;
use mbcas_core::PodId;
use mbcas_core::annotations::Mode;
use tokio::time::Instant;

use crate::actuate::{MOST, back_off};
use crate::cluster::View;
use crate::govern::Governed;
use crate::permit::Restraint;

/// How many are given theirs back in one cycle: by the usual budget of writes it lasts three seconds longer then.
const PER_CYCLE: usize = 60;

/// What lets a pod go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetGo {
    /// Its owner.
    OptedOut,
    /// Its namespace lost the label.
    Unlabelled,
    /// A mode below `auto`, or the canary.
    By(Restraint),
}

impl LetGo {
    /// One word, from a closed set.
    pub const fn word(self) -> &'static str {
        match self {
            Self::OptedOut => "opted_out",
            Self::Unlabelled => "unlabelled",
            Self::By(restraint) => restraint.word(),
        }
    }
}

/// The pods that are let go at this moment and are not as they were.
pub fn leaving(view: &View, governed: &Governed, mode: Mode) -> Vec<(PodId, LetGo)> {
    let switch = governed.switch;
    if mode < Mode::Auto || switch.most < Mode::Auto || switch.is_frozen {
        return Vec::new();
    }
    let restrained = governed.restraints.iter();
    let restrained: BTreeMap<&str, Restraint> = restrained
        .filter_map(|(id, restrained)| Some((id.pod.uid.as_str(), restrained.let_go?)))
        .collect();
    let moved = view.pods.values().filter(|pod| pod.is_moved);
    moved
        .filter_map(|pod| {
            let namespace = view.namespaces.get(pod.namespace());
            let node = view.nodes.get(&*pod.node);
            let is_kept = namespace.is_some_and(|namespace| namespace.is_frozen)
                || node.is_none_or(|node| node.is_opted_out)
                || pod.is_boosted;
            let why = match &pod.participation {
                _ if is_kept => return None,
                _ if namespace.is_none() => LetGo::Unlabelled,
                Err(NotParticipant::OptedOut) => LetGo::OptedOut,
                Err(_) => return None,
                Ok(_) => LetGo::By(*restrained.get(pod.uid())?),
            };
            Some((pod.id(), why))
        })
        .collect()
}

/// What became of giving a pod back what it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GivenBack {
    /// It was as it was before.
    AsBefore,
    /// The API server took what it had before.
    Done,
    /// It is gone, or somebody else resizes it.
    NotOurs,
    /// The turn of all of it, or of some of its containers, did not come, or this process may not write any more.
    NotReached,
    /// It did not work.
    Failed,
}

impl GivenBack {
    /// One word, from a closed set.
    pub const fn word(self) -> &'static str {
        match self {
            Self::AsBefore => "as_before",
            Self::Done => "done",
            Self::NotOurs => "not_ours",
            Self::NotReached => "not_reached",
            Self::Failed => "failed",
        }
    }
}

/// A pod that was let go, and what became of it.
#[derive(Clone, Debug)]
pub struct Leaver {
    /// The pod.
    pub pod: PodId,
    /// What let it go.
    pub by: LetGo,
    /// What became of it.
    pub outcome: GivenBack,
    /// What changed, or why nothing did; may be empty.
    pub words: String,
}

/// What is remembered of them, by uid.
#[derive(Debug, Default)]
pub struct Leaving(BTreeMap<String, Note>);

#[derive(Debug)]
struct Note {
    /// When it is tried; never again, if absent.
    next: Option<Instant>,
    failures: u32,
}

impl Leaving {
    /// Those of `all` whose turn it is. Nobody's is in the cycle in which it is first seen to leave, so that a
    /// label that was taken away by mistake, or missed for a moment, can come back. `affordable` is how many writes can
    /// have their turn in this cycle.
    pub fn due(
        &mut self,
        all: Vec<(PodId, LetGo)>,
        affordable: usize,
        now: Instant,
    ) -> Vec<(PodId, LetGo)> {
        let uids: BTreeSet<_> = all.iter().map(|(pod, _)| pod.uid.as_str()).collect();
        self.0.retain(|uid, _| uids.contains(uid.as_str()));
        let most = PER_CYCLE.min(affordable);
        let mut due = Vec::new();
        for leaver in all {
            match self.0.get(&leaver.0.uid) {
                None => {
                    let note = Note {
                        next: Some(now),
                        failures: 0,
                    };
                    self.0.insert(leaver.0.uid, note);
                }
                Some(note) if due.len() < most && note.next.is_some_and(|at| at <= now) => {
                    due.push(leaver);
                }
                Some(_) => {}
            }
        }
        due
    }

    /// Remembers what became of one.
    pub fn learn(&mut self, leaver: &Leaver, now: Instant) {
        let Some(note) = self.0.get_mut(&leaver.pod.uid) else {
            return;
        };
        note.next = match leaver.outcome {
            GivenBack::AsBefore | GivenBack::Done | GivenBack::NotOurs => None,
            GivenBack::NotReached => Some(now),
            GivenBack::Failed => {
                let wait = back_off(note.failures, MOST);
                note.failures += 1;
                Some(now + wait)
            }
        };
    }
}

#[cfg(test)]
mod tests;
