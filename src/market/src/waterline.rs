//! Whether a node is full, and what it gives to a weight then.

use mbcas_core::MilliCpu;

use crate::input::NodeSnapshot;
use crate::weight::{Level, WeightCurve};

/// What each container has of a full node by its weight; nothing while the node is not full.
///
/// Full means the machine and not what pods may have of it: below that the kernel
/// holds nobody back. Who uses its share then might want more. The height of the water is read off the
/// one that has most for its weight among those that use a good part ([`LARGE`]) of
/// the node: what smaller ones use in idle moments says nothing about it.
pub(crate) struct Waterline<'a> {
    curves: &'a [WeightCurve],
    levels: Vec<Level>,
}

/// A node is full when its containers use so many percent of the machine; what is missing is the kernel's and the
/// system's. At 70 services are called short that are not, at 150 none ever is (laws `steady`, `a_stranger_lowers_nobody`).
const FULL_PERCENT: u64 = 95;

/// The height is read off those that use such a part of the machine, a twentieth, or more.
const LARGE: (u64, u64) = (1, 20);

impl<'a> Waterline<'a> {
    pub(crate) fn of(snapshot: &NodeSnapshot, curves: &'a [WeightCurve]) -> Self {
        let space = snapshot.supply.cores;
        let participants = snapshot.participants.values();
        let participants = participants.filter_map(|o| Some((o.request, o.usage?.cpu)));
        let others = snapshot.non_participants.iter();
        let others = others.filter_map(|other| Some((other.request, other.usage?)));
        let used = participants.chain(others);
        let total: MilliCpu = used.clone().map(|(_, cpu)| cpu).sum();
        let is_full = space > MilliCpu::ZERO && total >= space.scaled(FULL_PERCENT, 100);
        let large = used.filter(|(_, cpu)| *cpu >= space.scaled(LARGE.0, LARGE.1));
        let level = |curve: &WeightCurve| {
            let levels = large.clone();
            let levels = levels.map(|(request, cpu)| Level::of(cpu.get(), curve.weight(request)));
            levels.max()
        };
        let levels = curves
            .iter()
            .filter(|_| is_full)
            .filter_map(level)
            .collect();
        Self { curves, levels }
    }

    /// The least that any of the curves gives.
    pub(crate) fn share(&self, request: MilliCpu) -> Option<MilliCpu> {
        let curves = self.curves.iter().zip(&self.levels);
        let share = curves.map(|(curve, level)| level.of_weight(curve.weight(request)));
        share.min().map(MilliCpu::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{NodeSupply, NonParticipant};

    /// What a request of 1000m has of four cores on which others, each with a request, use this.
    fn share(used: &[(u64, u64)]) -> Option<u64> {
        let others = used.iter().map(|(request, cpu)| NonParticipant {
            request: MilliCpu::new(*request),
            usage: Some(MilliCpu::new(*cpu)),
            limit: None,
        });
        let snapshot = NodeSnapshot {
            supply: NodeSupply {
                cores: MilliCpu::new(4_000),
                ..NodeSupply::default()
            },
            non_participants: others.collect(),
            ..NodeSnapshot::default()
        };
        let waterline = Waterline::of(&snapshot, &[WeightCurve::Shares]);
        waterline.share(MilliCpu::new(1_000)).map(MilliCpu::get)
    }

    #[test]
    fn a_node_is_full_from_95_percent_of_the_machine_on() {
        assert_eq!(share(&[(1_000, 1_900), (1_000, 1_899)]), None);
        assert_eq!(share(&[(1_000, 1_900), (1_000, 1_900)]), Some(1_900));
    }

    #[test]
    fn what_a_small_one_uses_says_nothing_about_the_height() {
        // It has 180m for a hundredth of the weight.
        assert_eq!(
            share(&[(1_000, 1_900), (1_000, 1_900), (10, 180)]),
            Some(1_900)
        );
        let large = share(&[(1_000, 1_900), (1_000, 1_900), (10, 200)]);
        assert!(large > Some(4_000), "{large:?}");
    }
}
