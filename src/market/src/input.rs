//! What the market is told: one node, who takes part, who is there besides.

use std::collections::BTreeMap;
use std::time::Duration;

use mbcas_core::annotations::Mode;
use mbcas_core::{ContainerId, Demand, MilliCpu};
use serde::{Deserialize, Serialize};

use crate::bid::EffectiveBudget;
use crate::weight::WeightCurve;

/// One node's market, ready to be cleared by [`crate::solve_cpu`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeMarketInput {
    /// What may be handed out, see [`crate::capacity::capacity`].
    pub capacity: MilliCpu,
    /// Who takes part, in any order, every container once.
    pub participants: Vec<Participant>,
}

/// One container at the market.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// Who.
    pub id: ContainerId,
    /// Its budget.
    pub budget: EffectiveBudget,
    /// Its urgency.
    pub demand: Demand,
    /// The least it is given. Rounded up to [`MilliCpu::QUANTUM`].
    pub floor: MilliCpu,
    /// The most it is given, not below `floor`. Rounded down to
    /// [`MilliCpu::QUANTUM`]; where no multiple of the quantum lies between the
    /// two, the floor is the stronger (it is a request) and the rounded-up
    /// floor is given, less than a quantum above the cap.
    pub cap: MilliCpu,
}

/// What one cycle knows about one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSnapshot {
    /// The node's name.
    pub node: String,
    /// What the node has.
    pub supply: NodeSupply,
    /// The containers that take part.
    pub participants: BTreeMap<ContainerId, Observed>,
    /// All other containers on the node, those beside a participant in its own pod too.
    pub non_participants: Vec<NonParticipant>,
}

/// What a node has for containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSupply {
    /// The node's allocatable CPU.
    pub allocatable: MilliCpu,
    /// What the operator keeps out of the market.
    pub reserve: MilliCpu,
    /// What the machine has in all. Only where that is used up do weights hold anybody back.
    pub cores: MilliCpu,
    /// How its kernel weighs requests. Absent: not known; what is decided then holds for every curve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curve: Option<WeightCurve>,
}

impl NodeSupply {
    /// The curves that what is decided has to hold for.
    pub fn curves(&self) -> &[WeightCurve] {
        match &self.curve {
            Some(curve) => std::slice::from_ref(curve),
            None => &WeightCurve::ALL,
        }
    }
}

/// A participant as the cluster has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Its CPU request, the least that its limit may be.
    pub request: MilliCpu,
    /// Its CPU limit as it runs: from the container's status; where spec and
    /// status differ because a resize is on its way, the larger one. Absent: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<MilliCpu>,
    /// `mbcas.minCPU`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_cpu: Option<MilliCpu>,
    /// `mbcas.maxCPU`. Absent: the node's allocatable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cpu: Option<MilliCpu>,
    /// Its budget, after its namespace's allotment.
    pub budget: EffectiveBudget,
    /// Its namespace asks for more than its allotment, see [`crate::allotment`].
    pub is_scaled: bool,
    /// Its urgency now, unsmoothed.
    pub demand: Demand,
    /// What its agent measured that it could use. Absent: no agent, or one that cannot see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<MilliCpu>,
    /// What the kubelet saw it use. Absent: not known, or not yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// It started so recently that what it uses says nothing yet: it keeps its cap meanwhile.
    pub starting: bool,
    /// How far MBCAS may go with it. Only [`Mode::Auto`] is written to.
    pub mode: Mode,
}

/// What the kubelet saw a container use over its newest window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Mean use.
    pub cpu: MilliCpu,
    /// When the window ended, on the clock that [`crate::plan()`] is given. The
    /// same end twice is the same window.
    pub until: Duration,
}

impl Observed {
    /// The least it may be given: the larger of `mbcas.minCPU` and its request,
    /// rounded up to the quantum, and never nothing.
    pub fn floor(&self) -> MilliCpu {
        self.min_cpu
            .unwrap_or_default()
            .max(self.request)
            .max(MilliCpu::QUANTUM)
            .ceil_to_quantum()
    }

    /// The most it may be given: `mbcas.maxCPU`, at most the node's
    /// `allocatable`, and never below its floor.
    pub fn cap(&self, allocatable: MilliCpu) -> MilliCpu {
        let most = self.max_cpu.unwrap_or(allocatable).min(allocatable);
        most.floor_to_quantum().max(self.floor())
    }
}

/// A container that the market does not steer but has to live with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NonParticipant {
    /// Its CPU request; nothing for a container that has none.
    pub request: MilliCpu,
    /// What it uses now, by the kubelet's account. Absent: not known; it counts with
    /// its whole weight share then, the most that it could take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<MilliCpu>,
    /// Its CPU limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<MilliCpu>,
}
