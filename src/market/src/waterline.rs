//! Whether a node is full, and what it gives to a weight then.

use mbcas_core::MilliCpu;

use crate::input::NodeSnapshot;
use crate::weight::{Level, WeightCurve};

/// What each container has of a full node by its weight; nothing while the node is not full.
///
/// Full means the machine and not what pods may have of it: below that the kernel
/// holds nobody back. Who uses its share then might want more. The height of the water is read off the
/// one that has most for its weight among those that use a twentieth of
/// the node: what smaller ones use in idle moments says nothing about it.
pub(crate) struct Waterline<'a> {
    curves: &'a [WeightCurve],
    levels: Vec<Level>,
}

/// A node is full when its containers use so many percent of the machine; what is missing is the kernel's and the
/// system's. At 70 services are called short that are not, at 150 none ever is (laws `steady`, `a_stranger_lowers_nobody`).
const FULL_PERCENT: u64 = 95;

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
        let large = used.filter(|(_, cpu)| *cpu >= space.scaled(1, 20));
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
