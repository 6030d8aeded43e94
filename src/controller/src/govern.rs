//! What others have decided about a node's participants, applied to what was seen of them.

use std::collections::BTreeMap;

use mbcas_market::{Asked, NodeSnapshot, allot};

use crate::autoscalers::{Encounters, encounters};
use crate::budget_policies::allotments;
use crate::cluster::View;
use crate::constraints::constrain;
use crate::discover::Discovery;
use crate::permit::{Circumstances, Restraints, permit};
use crate::switch::Bound;

/// What of that somebody wants to know after the cycle.
#[derive(Clone, Debug)]
pub struct Governed {
    /// What namespaces asked for, before their allotments.
    pub asked: BTreeMap<String, Asked>,
    /// The participants that are not resized.
    pub restraints: Restraints,
    /// Who else acts on participants.
    pub encounters: Encounters,
    /// What the switch says.
    pub switch: Bound,
}

/// Holds `snapshots` to what namespaces may have together, to what the API server would
/// take, and to how far MBCAS may go with each.
pub fn govern(
    snapshots: &mut [NodeSnapshot],
    view: &View,
    discovery: &Discovery,
    circumstances: Circumstances<'_>,
) -> Governed {
    let asked = allot(snapshots, &allotments(&view.policies));
    let refused = constrain(snapshots, view);
    let encounters = encounters(view, discovery);
    let restraints = permit(
        snapshots,
        view,
        discovery,
        &circumstances,
        &encounters,
        &refused,
    );
    Governed {
        asked,
        restraints,
        encounters,
        switch: circumstances.switch,
    }
}
