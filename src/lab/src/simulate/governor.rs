//! What decides limits: one trait, and the market's rivals.
//!
//! | governor | what it does |
//! | --- | --- |
//! | [`Unlimited`] | nothing: requests, and the kernel's weights by them |
//! | [`Fixed::Request`] | a limit that is the request |
//! | [`Fixed::TwiceLoad`] | a limit of twice what the pod is expected to need |
//! | [`Utilisation`] | what Autothrottle calls K8s-CPU, and in spirit VPA: the recent peak at 60 % |
//! | [`Captain`] | Autothrottle's, from the node's own counters, every second |
//! | [`Market`] | MBCAS, by either of its rules |

use std::time::Duration;

use mbcas_core::{ContainerId, Demand, MilliCpu};
use mbcas_market::Rule;
use mbcas_market::weight::WeightCurve;

use super::kernel::Counters;
use super::kubelet::Usage;
use super::pod::PodSpec;

mod captain;
mod market;
mod utilisation;

pub use captain::Captain;
pub use market::Market;
pub use utilisation::Utilisation;

/// What a governor sees of a node.
#[derive(Clone, Debug)]
pub struct NodeView<'a> {
    /// Since the simulation began.
    pub now: Duration,
    /// Whether a demand jump is why it is asked, and not its turn.
    pub is_event: bool,
    /// CPU for pods.
    pub allocatable: MilliCpu,
    /// What the machine has in all.
    pub cores: MilliCpu,
    /// What the operator keeps out of the market.
    pub reserve: MilliCpu,
    /// How the node's runtime makes weights of requests, where that is known.
    pub curve: Option<WeightCurve>,
    /// Its pods, always in the same order.
    pub pods: &'a [PodView<'a>],
}

/// What a governor sees of a pod.
#[derive(Clone, Debug)]
pub struct PodView<'a> {
    /// Who.
    pub id: ContainerId,
    /// As it was created.
    pub spec: &'a PodSpec,
    /// Its limit; while a write is on its way, the larger one.
    pub limit: Option<MilliCpu>,
    /// By the kubelet's account.
    pub usage: Option<Usage>,
    /// What its agent says; nothing where there is none.
    pub demand: Option<Demand>,
    /// Whether it is what the event is about.
    pub jumped: bool,
    /// The kernel's own counters, which only a process on the node can read.
    pub counters: Counters,
}

/// A limit to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whose, by its place among the pods.
    pub pod: usize,
    /// What it shall be.
    pub limit: MilliCpu,
    /// It takes what other decisions of the same time free, and waits until that holds.
    pub needs_donor: bool,
}

/// Decides limits.
pub trait Governor {
    /// What tables call it.
    fn name(&self) -> &'static str;

    /// How often it is asked.
    fn interval(&self) -> Duration {
        Duration::from_secs(15)
    }

    /// The least demand of the pod at this place that it wants to hear of before its next turn.
    fn listens_for(&self, _pod: usize) -> Option<Demand> {
        None
    }

    /// Whether it writes to the kernel itself, without the API server and the kubelet's delay.
    fn is_on_the_node(&self) -> bool {
        false
    }

    /// The limit that `pod` is created with.
    fn at_creation(&self, pod: &PodSpec, allocatable: MilliCpu) -> Option<MilliCpu>;

    /// Decides.
    fn decide(&mut self, node: &NodeView<'_>) -> Vec<Decision>;
}

/// No limits at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unlimited;

impl Governor for Unlimited {
    fn name(&self) -> &'static str {
        "no limits"
    }

    fn at_creation(&self, _: &PodSpec, _: MilliCpu) -> Option<MilliCpu> {
        None
    }

    fn decide(&mut self, _: &NodeView<'_>) -> Vec<Decision> {
        Vec::new()
    }
}

/// Limits that never change.
#[derive(Clone, Copy, Debug)]
pub enum Fixed {
    /// The request.
    Request,
    /// Twice the expected load, and no less than the request.
    TwiceLoad,
}

impl Governor for Fixed {
    fn name(&self) -> &'static str {
        match self {
            Self::Request => "limit = request",
            Self::TwiceLoad => "limit = 2 x load",
        }
    }

    fn at_creation(&self, pod: &PodSpec, _: MilliCpu) -> Option<MilliCpu> {
        let limit = match self {
            Self::Request => pod.request,
            Self::TwiceLoad => (pod.expected + pod.expected).max(pod.request),
        };
        pod.takes_part.then_some(limit)
    }

    fn decide(&mut self, _: &NodeView<'_>) -> Vec<Decision> {
        Vec::new()
    }
}

/// The limit of a pod whose governor will adjust it: what it starts with, or its cap.
fn starting_limit(pod: &PodSpec, allocatable: MilliCpu) -> Option<MilliCpu> {
    let cap = pod.max.unwrap_or(allocatable);
    pod.takes_part.then(|| pod.start.unwrap_or(cap))
}

/// One that can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// No limits.
    None,
    /// The limit is the request.
    Request,
    /// The limit is twice the expected load.
    Twice,
    /// The recent peak at 60 % utilisation.
    K8sCpu,
    /// Autothrottle's Captain.
    Captain,
    /// MBCAS by the seed's rule: limits are grants, in proportion to bids.
    Proportional,
    /// The market's grants, and every limit set to its grant in each cycle.
    ResizeAll,
    /// The market's limits, each written in each cycle in which it differs.
    Unguarded,
    /// MBCAS by its own rule: least-restrictive.
    Market,
}

impl Kind {
    /// A new one.
    pub fn build(self) -> Box<dyn Governor> {
        match self {
            Self::None => Box::new(Unlimited),
            Self::Request => Box::new(Fixed::Request),
            Self::Twice => Box::new(Fixed::TwiceLoad),
            Self::K8sCpu => Box::new(Utilisation::default()),
            Self::Captain => Box::new(Captain::default()),
            Self::Proportional => Box::new(Market::new(Rule::Proportional)),
            Self::ResizeAll => Box::new(Market::resizing_all()),
            Self::Unguarded => Box::new(Market::unguarded()),
            Self::Market => Box::new(Market::new(Rule::LeastRestrictive)),
        }
    }
}
