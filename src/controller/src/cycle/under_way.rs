//! What the loop has begun and not ended.

use std::collections::{BTreeMap, BTreeSet};

use mbcas_core::ContainerId;
use mbcas_core::annotations::Mode;
use mbcas_market::{Ledger, NodeSnapshot, Plan};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::actuate::{Actuator, Outcomes};
use crate::cluster::View;
use crate::discover::Discovery;
use crate::govern::Governed;
use crate::jumps::Jump;
use crate::leaving::Leaver;
use crate::record::{Drafts, Occasion};
use crate::senses::Heard;

/// A term in which this process leads, and how far it may go in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The Lease's epoch.
    pub epoch: i32,
    /// How far.
    pub mode: Mode,
}

/// What the loop has begun and not ended.
#[derive(Debug, Default)]
pub struct UnderWay {
    /// What it waits for.
    pub steps: JoinSet<Step>,
    pub(super) cycle: Option<Cycle>,
    /// What the last cycle of this term heard.
    pub(super) heard: Option<Heard>,
    /// What the cycle has heard that is to decide as soon as nobody writes.
    pub(super) fresh: Option<Heard>,
    /// Nodes whose writes are on their way.
    pub(super) busy: BTreeSet<String>,
    /// Jumps that wait for those.
    pub(super) late: Vec<Jump>,
}

/// A cycle that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    pub(super) term: Term,
    pub(super) begun: Instant,
}

/// The end of something that was waited for.
#[derive(Debug)]
pub enum Step {
    /// Agents and kubelets were asked.
    Heard(Cycle, Heard),
    /// What was decided is written.
    Acted(Box<Act>, Outcomes),
    /// Whoever was let go has what it had, a cycle's notes are written, and it is over.
    Noted(Cycle, Vec<Leaver>),
}

/// A decision that is carried out.
#[derive(Debug)]
pub struct Act {
    /// The cycle whose middle it is; none of an early turn.
    pub(super) cycle: Option<Cycle>,
    pub(super) scene: Scene,
    pub(super) occasion: Occasion,
    pub(super) plans: Vec<Plan>,
    pub(super) drafts: Drafts,
    /// The ledgers that the plans were made from, by node.
    pub(super) before: BTreeMap<String, Ledger>,
}

/// All nodes as a turn sees them, and what bounds it.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) view: View,
    pub(super) discovery: Discovery,
    pub(super) snapshots: Vec<NodeSnapshot>,
    pub(super) governed: Governed,
}

impl Act {
    /// Writes what was decided.
    pub(super) async fn carry_out(&self, actuator: &Actuator) -> Outcomes {
        let participants = &self.scene.discovery.participants;
        let started = |id: &ContainerId| participants.get(id)?.participation.started;
        let Occasion { term, turn, .. } = self.occasion;
        actuator.actuate(&self.plans, (term, turn), started).await
    }
}
