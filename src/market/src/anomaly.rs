//! Where an agent's word and the evidence contradict each other.
//!
//! The market does not need to know: a bid moves only as far as evidence bears it out
//! ([`crate::bid`]), and a claim that nothing came of costs credit ([`crate::claim`]). People
//! do: an agent that cries for nothing is broken or lies, and one that is content while its container
//! is held looks at the wrong signal.

use std::fmt;
use std::time::Duration;

use mbcas_core::Demand;

use crate::claim::URGENT;
use crate::input::Observed;
use crate::ledger::Entry;
use crate::need::Censor;

/// Hardly any: less than a queue of one shows.
const CONTENT: Demand = Demand::from_basis_points(1_000);

/// Urgent is doubted of one that uses less than so many percent of the floor, which nobody can take from it.
const IDLE_PERCENT: u64 = 50;

/// What is odd about what an agent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Anomaly {
    /// It claimed more, was given it, and did not use it; it is not heard for a while.
    Unconfirmed,
    /// It has been urgent for some time while it left half of its floor unused: more CPU is not what it lacks.
    UrgentWhileIdle,
    /// It has been content for some time while its own limit held it.
    ContentWhileHeld,
}

impl Anomaly {
    /// Every one of them.
    pub const ALL: [Self; 3] = [
        Self::Unconfirmed,
        Self::UrgentWhileIdle,
        Self::ContentWhileHeld,
    ];

    /// A word for metrics, from a closed set.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unconfirmed => "unconfirmed_claim",
            Self::UrgentWhileIdle => "urgent_while_idle",
            Self::ContentWhileHeld => "content_while_held",
        }
    }

    /// What is odd about `observed`, of whom `entry` is remembered; nothing about one without usage.
    pub(crate) fn of(entry: &Entry, observed: &Observed, now: Duration) -> Option<Self> {
        let known = entry.estimate()?;
        let demand = entry.demand();
        let idle = observed.floor().scaled(IDLE_PERCENT, 100);
        if entry.claims.blocked_until() > now {
            Some(Self::Unconfirmed)
        } else if demand >= URGENT && known.censored().is_none() && known.usage() < idle {
            Some(Self::UrgentWhileIdle)
        } else if demand < CONTENT && known.censored() == Some(Censor::Limit) {
            Some(Self::ContentWhileHeld)
        } else {
            None
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unconfirmed => "it claimed more and did not use it; it is not heard for a while",
            Self::UrgentWhileIdle => {
                "its agent is urgent while it leaves half of its floor unused: CPU is not what it lacks"
            }
            Self::ContentWhileHeld => {
                "its agent is content while its own limit holds it: the agent does not see what it waits for"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mbcas_core::annotations::Mode;
    use mbcas_core::{Budget, ContainerId, MilliCpu, PodId};

    use super::*;
    use crate::input::{NodeSnapshot, NodeSupply, Usage};
    use crate::ledger::Ledger;
    use crate::plan::plan;
    use crate::policy::Policy;

    /// What is odd after ten cycles in which the agent said `demand` and the kubelet saw `used`, of a
    /// request of 200m and a limit of 400m.
    fn odd(demand: u64, used: u64) -> Option<Anomaly> {
        let pod = PodId {
            namespace: "shop".into(),
            name: "web".into(),
            uid: "1".into(),
        };
        let id = ContainerId::new(pod, "app");
        let mut ledger = Ledger::default();
        let mut observed = Observed {
            request: MilliCpu::new(200),
            limit: Some(MilliCpu::new(400)),
            min_cpu: None,
            max_cpu: Some(MilliCpu::new(400)),
            budget: Budget::DEFAULT.into(),
            is_scaled: false,
            demand: Demand::from_basis_points(demand),
            measured: None,
            usage: None,
            starting: false,
            mode: Mode::Observe,
        };
        let mut now = Duration::ZERO;
        for _ in 0..10 {
            now += Duration::from_secs(15);
            observed.usage = Some(Usage {
                cpu: MilliCpu::new(used),
                until: now,
            });
            let snapshot = NodeSnapshot {
                node: "n1".into(),
                supply: NodeSupply {
                    allocatable: MilliCpu::new(4_000),
                    cores: MilliCpu::new(4_000),
                    ..NodeSupply::default()
                },
                participants: BTreeMap::from([(id.clone(), observed.clone())]),
                non_participants: Vec::new(),
            };
            ledger = plan(&snapshot, &ledger, &Policy::default(), now).ledger;
        }
        ledger.anomaly(&id, &observed)
    }

    #[test]
    fn an_agent_that_cries_for_nothing_is_odd_and_one_that_needs_it_is_not() {
        assert_eq!(odd(9_000, 20), Some(Anomaly::UrgentWhileIdle));
        assert_eq!(odd(9_000, 150), None);
        assert_eq!(odd(9_000, 399), None);
        assert_eq!(odd(5_000, 20), None, "neutral is what nobody said");
    }

    #[test]
    fn an_agent_that_does_not_see_what_its_container_waits_for_is_odd() {
        assert_eq!(odd(0, 399), Some(Anomaly::ContentWhileHeld));
        assert_eq!(odd(0, 300), None);
    }
}
