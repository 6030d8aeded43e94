//! How far MBCAS goes with each participant, and what holds it back.
//!
//! Everybody who has a say can only make it more careful: the controller's own
//! mode, the switch, the namespace, the pod, the node, other autoscalers. The
//! most careful word counts, and of several alike the first in the order of
//! [`Restraint`].

use std::collections::{BTreeMap, BTreeSet};

use mbcas_core::ContainerId;
use mbcas_core::annotations::Mode;
use mbcas_market::NodeSnapshot;
use tokio::time::Instant;

use crate::autoscalers::Encounters;
use crate::canary::Canary;
use crate::cluster::View;
use crate::discover::Discovery;
use crate::switch::Bound;
use crate::unenforced::Unenforced;

/// What keeps a participant from being resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Restraint {
    /// The controller's mode, or a cluster that cannot resize.
    Controller,
    /// The switch.
    Switch,
    /// The switch, or the namespace, says that all is to stay as it is.
    Frozen,
    /// The namespace's BudgetPolicy.
    Policy,
    /// The pod's own `mbcas.mode`.
    Pod,
    /// Its node is labelled out of the market.
    Node,
    /// Its node does not keep to limits.
    NoQuota,
    /// A VerticalPodAutoscaler sets its CPU.
    Vpa,
    /// kube-startup-cpu-boost holds its resources.
    Boost,
    /// A LimitRange refuses every limit it could have.
    LimitRange,
    /// Another resizer's claim was met.
    Contested,
    /// It is not in the part that is resized so far.
    Canary,
    /// Nothing is known yet of what its node's containers use: every neighbour would count with
    /// its whole weight share, and limits would be cut for the length of a cooldown to what that leaves.
    WarmingUp,
}

impl Restraint {
    /// One word, from a closed set, for metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Switch => "switch",
            Self::Frozen => "frozen",
            Self::Policy => "policy",
            Self::Pod => "pod",
            Self::Node => "node",
            Self::NoQuota => "no_quota",
            Self::Vpa => "vpa",
            Self::Boost => "boost",
            Self::LimitRange => "limit_range",
            Self::Contested => "contested",
            Self::Canary => "canary",
            Self::WarmingUp => "warming_up",
        }
    }

    /// Whether it lets a participant go, whose original limit returns then.
    const fn lets_go(self) -> bool {
        matches!(self, Self::Policy | Self::Pod | Self::Canary)
    }

    /// Whether everything is to stay as it is, or is somebody else's to set.
    const fn keeps(self) -> bool {
        matches!(
            self,
            Self::Controller
                | Self::Switch
                | Self::Frozen
                | Self::Node
                | Self::Vpa
                | Self::Boost
                | Self::Contested
        )
    }
}

/// How far MBCAS goes with a participant that it does not resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restrained {
    /// How far.
    pub mode: Mode,
    /// Why no further.
    pub by: Restraint,
    /// Nothing at all is to be written about it.
    pub is_frozen: bool,
    /// Whose word lets it go, if nobody's keeps it as it is.
    pub let_go: Option<Restraint>,
}

/// The participants that are not resized.
pub type Restraints = BTreeMap<ContainerId, Restrained>;

/// All that has a say in a cycle, beside the cluster itself.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// How far the controller goes at most.
    pub mode: Mode,
    /// What the switch says.
    pub switch: Bound,
    /// Which part is resized.
    pub canary: Canary,
    /// Where limits mean nothing.
    pub unenforced: &'a Unenforced,
    /// What other resizers own.
    pub contested: &'a BTreeMap<ContainerId, Instant>,
    /// Of which nodes no usage is known yet.
    pub warming_up: &'a BTreeSet<String>,
}

/// Sets how far each participant goes, and returns those that are not resized.
/// `refused` are those of whom a LimitRange refuses every limit.
pub fn permit(
    snapshots: &mut [NodeSnapshot],
    view: &View,
    discovery: &Discovery,
    circumstances: &Circumstances<'_>,
    encounters: &Encounters,
    refused: &BTreeSet<ContainerId>,
) -> Restraints {
    let house = House {
        view,
        discovery,
        circumstances,
        encounters,
        refused,
    };
    let mut restraints = Restraints::new();
    for snapshot in snapshots {
        for (id, observed) in &mut snapshot.participants {
            let words = house.words(id, &snapshot.node);
            let is_frozen = words.contains(&(Mode::Recommend, Restraint::Frozen));
            let is_kept = words.iter().any(|(_, by)| by.keeps());
            let let_go = words.iter().map(|(_, by)| *by).filter(|by| by.lets_go());
            let let_go = let_go.min().filter(|_| !is_kept);
            let Some((mode, by)) = words.into_iter().min() else {
                observed.mode = Mode::Auto;
                continue;
            };
            observed.mode = mode;
            let restrained = Restrained {
                mode,
                by,
                is_frozen,
                let_go,
            };
            restraints.insert(id.clone(), restrained);
        }
    }
    restraints
}

/// Everybody who has a say.
struct House<'a> {
    view: &'a View,
    discovery: &'a Discovery,
    circumstances: &'a Circumstances<'a>,
    encounters: &'a Encounters,
    refused: &'a BTreeSet<ContainerId>,
}

impl House<'_> {
    /// Every word about `id` that is more careful than `auto`, with who says it.
    fn words(&self, id: &ContainerId, node: &str) -> Vec<(Mode, Restraint)> {
        let (view, told) = (self.view, self.circumstances);
        let namespace = &id.pod.namespace;
        let pod = view.pods.get(&id.pod.uid);
        let found = self.discovery.participants.get(id);
        let named = found.and_then(|found| found.participation.asks.settings.mode);
        let policy = view.policies.get(namespace).and_then(|policy| policy.mode);
        let frozen = view.namespaces.get(namespace).is_some_and(|n| n.is_frozen);
        let node_view = view.nodes.get(node);
        let modes = [
            (told.mode, Restraint::Controller),
            (told.switch.most, Restraint::Switch),
            (policy.unwrap_or(Mode::Auto), Restraint::Policy),
            (named.unwrap_or(Mode::Auto), Restraint::Pod),
        ];
        let recommends = [
            (told.switch.is_frozen || frozen, Restraint::Frozen),
            (node_view.is_some_and(|n| n.is_opted_out), Restraint::Node),
            (told.unenforced.is_on(node), Restraint::NoQuota),
            (self.encounters.vertical.contains(id), Restraint::Vpa),
            (pod.is_some_and(|pod| pod.is_boosted), Restraint::Boost),
            (self.refused.contains(id), Restraint::LimitRange),
            (told.contested.contains_key(id), Restraint::Contested),
            (
                pod.is_some_and(|pod| !told.canary.includes(pod)),
                Restraint::Canary,
            ),
            (told.warming_up.contains(node), Restraint::WarmingUp),
        ];
        let modes = modes.into_iter().filter(|(mode, _)| *mode < Mode::Auto);
        let recommends = recommends
            .into_iter()
            .filter_map(|(is_so, by)| is_so.then_some((Mode::Recommend, by)));
        modes.chain(recommends).collect()
    }
}

#[cfg(test)]
mod tests;
