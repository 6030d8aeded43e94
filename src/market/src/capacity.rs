//! What the market of a node may hand out.

use mbcas_core::MilliCpu;

use crate::input::{NodeSupply, NonParticipant};

/// The CPU shares of a container without a request.
const LEAST_SHARES: u64 = 2;

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
/// let supply = NodeSupply { allocatable: MilliCpu::new(2000), reserve: MilliCpu::new(100) };
/// let participants = [MilliCpu::new(500), MilliCpu::new(500)];
/// // A full core is burnt by a container without a request: its weight share is 3m.
/// let burner = NonParticipant { usage: MilliCpu::new(1000), ..NonParticipant::default() };
/// assert_eq!(capacity(supply, participants, &[burner]), MilliCpu::new(1897));
/// ```
pub fn capacity(
    supply: NodeSupply,
    participant_requests: impl IntoIterator<Item = MilliCpu>,
    non_participants: &[NonParticipant],
) -> MilliCpu {
    let others = non_participants.iter().map(|other| other.request);
    let total: u128 = participant_requests
        .into_iter()
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
    let used = other
        .usage
        .min(share)
        .min(other.limit.unwrap_or(other.usage));
    used.max(other.request)
}

/// The kernel's weight of a request: cgroup v1 shares, `milli × 1024 / 1000` and at least 2
/// (`kubernetes/kubernetes` `pkg/kubelet/cm/helpers_linux.go`).
///
/// Linear on purpose. cgroup v2 bends this curve, in two ways depending on the
/// container runtime; which one a node has is not known here yet, and the
/// line lies between the two.
fn shares(request: MilliCpu) -> u64 {
    request.scaled(1024, 1000).get().max(LEAST_SHARES)
}
