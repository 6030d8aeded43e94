//! What the market of a node may hand out.

use mbcas_core::MilliCpu;

use crate::input::{NodeSupply, NonParticipant};
use crate::weight::WeightCurve;

/// `allocatable − reserve − Σ max(request, min(usage, limit, weight share))`
/// over the non-participants; `participant_requests` are those of everybody else.
///
/// A non-participant's request is the scheduler's promise and always counts.
/// What it uses beyond counts only up to its weight share, the part of the node
/// that the kernel gives it against everybody at full load. Plain usage would be
/// a death spiral: a greedy neighbour without a request would talk all
/// participants down to their floors, and their limits would then make room for it.
///
/// ```
/// use mbcas_core::MilliCpu;
/// use mbcas_market::capacity::capacity;
/// use mbcas_market::input::{NodeSupply, NonParticipant};
///
/// let supply = NodeSupply { allocatable: MilliCpu::new(2000), reserve: MilliCpu::new(100), cores: MilliCpu::new(2000), curve: None };
/// let participants = [MilliCpu::new(500), MilliCpu::new(500)];
/// // A full core is burnt by a container without a request: its weight share is 3m.
/// let burner = NonParticipant { usage: Some(MilliCpu::new(1000)), ..NonParticipant::default() };
/// assert_eq!(capacity(supply, &participants, &[burner]), MilliCpu::new(1897));
/// ```
pub fn capacity(
    supply: NodeSupply,
    participant_requests: &[MilliCpu],
    non_participants: &[NonParticipant],
) -> MilliCpu {
    let others = non_participants.iter().map(|other| other.request);
    let total: u128 = participant_requests
        .iter()
        .copied()
        .chain(others)
        .map(|r| u128::from(shares(r)))
        .sum();
    let charged: MilliCpu = non_participants
        .iter()
        .map(|other| charge(other, supply.allocatable, total))
        .sum();
    supply.allocatable - supply.reserve - charged
}

fn charge(other: &NonParticipant, allocatable: MilliCpu, total: u128) -> MilliCpu {
    let share = u128::from(allocatable.get()) * u128::from(shares(other.request));
    let share =
        MilliCpu::new(u64::try_from(share.checked_div(total).unwrap_or(0)).unwrap_or(u64::MAX));
    let used = other.usage.unwrap_or(share).min(share);
    used.min(other.limit.unwrap_or(used)).max(other.request)
}

/// The kernel's weight of a request, by the line that lies between the two curves of
/// cgroup v2: what a neighbour is charged should not jump with a container runtime's version.
fn shares(request: MilliCpu) -> u64 {
    WeightCurve::Shares.weight(request)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SUPPLY: NodeSupply = NodeSupply {
        allocatable: MilliCpu::new(4000),
        reserve: MilliCpu::new(400),
        cores: MilliCpu::new(4000),
        curve: None,
    };

    fn other(request: u64, usage: u64, limit: Option<u64>) -> NonParticipant {
        NonParticipant {
            request: MilliCpu::new(request),
            usage: Some(MilliCpu::new(usage)),
            limit: limit.map(MilliCpu::new),
        }
    }

    /// The capacity beside participants that request 1000m together.
    fn beside(others: &[NonParticipant]) -> u64 {
        capacity(SUPPLY, &[MilliCpu::new(600), MilliCpu::new(400)], others).get()
    }

    #[test]
    fn a_request_counts_whether_it_is_used_or_not() {
        assert_eq!(beside(&[]), 3600);
        assert_eq!(beside(&[other(500, 0, None)]), 3100);
        assert_eq!(beside(&[other(500, 499, None), other(0, 0, None)]), 3100);
    }

    #[test]
    fn usage_beyond_the_request_counts_up_to_the_weight_share() {
        // 1000 of 2000 parts of 4000m: 2000m, though it burns 3000m.
        assert_eq!(beside(&[other(1000, 3000, None)]), 1600);
        assert_eq!(beside(&[other(1000, 1500, None)]), 2100);
    }

    #[test]
    fn a_limit_is_the_end_of_it() {
        assert_eq!(beside(&[other(1000, 3000, Some(1200))]), 2400);
        assert_eq!(beside(&[other(1000, 3000, Some(1000))]), 2600);
    }

    #[test]
    fn a_greedy_neighbour_without_a_request_talks_nobody_down() {
        // 2 shares of 1026 (1024 + 2): 7m, whatever it burns.
        assert_eq!(beside(&[other(0, 4000, None)]), 3593);
        assert_eq!(beside(&[other(0, 4_000_000, None)]), 3593);
    }

    #[test]
    fn what_is_not_there_is_nothing() {
        assert_eq!(beside(&[other(9000, 0, None)]), 0);
        assert_eq!(
            capacity(NodeSupply::default(), &[], &[other(0, 100, None)]),
            MilliCpu::ZERO
        );
        let most = MilliCpu::new(u64::MAX);
        let absurd = NonParticipant {
            request: most,
            usage: Some(most),
            limit: None,
        };
        assert_eq!(capacity(SUPPLY, &[most], &[absurd, absurd]), MilliCpu::ZERO);
    }

    proptest! {
        #[test]
        fn more_usage_never_makes_more_capacity_and_never_takes_the_participants_requests(
            others in prop::collection::vec((0u64..350, 0u64..5000, prop::option::of(350u64..5000)), 0..8),
            more in 0u64..5000,
        ) {
            let make = |extra| others.iter().map(|(r, u, l)| other(*r, u + extra, *l)).collect::<Vec<_>>();
            let (calm, busy) = (beside(&make(0)), beside(&make(more)));
            prop_assert!(busy <= calm);
            let requests: u64 = others.iter().map(|(r, ..)| r).sum();
            prop_assert!(calm <= 3600 - requests);
            // All requests fit the node. Whatever the others burn, what the participants
            // requested is left, but for the least shares of those without a request.
            prop_assert!(busy + 400 + 20 >= 1000);
        }
    }
}
