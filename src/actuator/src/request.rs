//! What a caller asks for.

use std::fmt;

use k8s_openapi::jiff::Timestamp;
use mbcas_core::quantity::Quantity;

use crate::bounds::Bounds;

/// A resource that can be resized in place. There are only these two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// CPU time.
    Cpu,
    /// Memory.
    Memory,
}

impl Resource {
    /// Kubernetes' name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }
}

/// Which of a container's two amounts is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// `resources.requests`: what the scheduler reserves and the kernel weighs.
    Requests,
    /// `resources.limits`: what the kernel enforces.
    Limits,
}

impl Side {
    /// Kubernetes' name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Limits => "limits",
        }
    }
}

/// Which sides a resize may change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResizePolicy {
    /// Requests and limits, to the same amount.
    Both,
    /// Limits only: neither the scheduler nor the kubelet's admission look at
    /// them, so nothing is deferred and nobody is evicted.
    #[default]
    Limits,
    /// Requests only.
    Requests,
}

impl ResizePolicy {
    /// The sides that it changes.
    pub const fn sides(self) -> &'static [Side] {
        match self {
            Self::Both => &[Side::Requests, Side::Limits],
            Self::Limits => &[Side::Limits],
            Self::Requests => &[Side::Requests],
        }
    }
}

impl fmt::Display for ResizePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Both => "both",
            Self::Limits => "limits",
            Self::Requests => "requests",
        })
    }
}

impl std::str::FromStr for ResizePolicy {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "both" => Ok(Self::Both),
            "limits" => Ok(Self::Limits),
            "requests" => Ok(Self::Requests),
            other => Err(format!(
                "{other:?} is no resize policy: use both, limits or requests"
            )),
        }
    }
}

/// A resize as a caller asks for it. An absent amount stays as it is.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools)] // independent permissions, all refused unless given
pub struct ResizeRequest {
    /// The incarnation that is meant; absent: whichever has the name now.
    pub uid: Option<String>,
    /// The container; absent: the pod's default container, or its only one.
    pub container: Option<String>,
    /// The new CPU amount.
    pub cpu: Option<Quantity>,
    /// The new memory amount.
    pub memory: Option<Quantity>,
    /// A CPU request of its own, whatever the policy says: giving a pod its
    /// original resources back sets two different amounts in one write.
    pub cpu_request: Option<Quantity>,
    /// Which sides change.
    pub policy: ResizePolicy,
    /// Take over fields that another resizer owns. People may; the controller never does.
    pub take_over: bool,
    /// When the container that is meant started; absent: whichever runs now. What was
    /// decided about one container says nothing about the one that took its place.
    pub started: Option<Timestamp>,
    /// A Guaranteed pod's requests and limits can only move together: change both there,
    /// whatever [`Self::policy`] says, rather than refuse.
    pub both_if_guaranteed: bool,
    /// Memory may become less, too.
    pub lower_memory: bool,
    /// The API server resizes pods with pod-level resources (1.36 and later), see [`crate::Version`].
    pub pod_level: bool,
    /// An automatic writer's manners, at this time of day: a pod that is being debugged is
    /// left alone, and nothing is taken from one that has not been ready for the last minutes.
    pub considerate: Option<Timestamp>,
    /// What the namespace allows. Where it is given the CPU amount is fitted to it,
    /// and to the pod's QoS class, rather than refused.
    pub bounds: Option<Bounds>,
}

impl ResizeRequest {
    /// Every amount that is asked for, in a fixed order.
    pub fn amounts(&self) -> Vec<(Side, Resource, &Quantity)> {
        self.amounts_by(self.policy)
    }

    /// As [`Self::amounts`], if the policy were another.
    pub(crate) fn amounts_by(&self, policy: ResizePolicy) -> Vec<(Side, Resource, &Quantity)> {
        let mut amounts = Vec::new();
        let both = [(Resource::Cpu, &self.cpu), (Resource::Memory, &self.memory)];
        for (resource, amount) in both {
            for side in policy.sides() {
                let own = self.cpu_request.as_ref();
                let own = own.filter(|_| (*side, resource) == (Side::Requests, Resource::Cpu));
                amounts.extend(own.or(amount.as_ref()).map(|q| (*side, resource, q)));
            }
        }
        if policy == ResizePolicy::Limits {
            let own = self.cpu_request.as_ref();
            amounts.extend(own.map(|q| (Side::Requests, Resource::Cpu, q)));
        }
        amounts
    }
}
