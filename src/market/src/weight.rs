//! The kernel's own market: how it shares a node by the weights of cgroups.
//!
//! Where the weights already give everybody what the market promised, no limit
//! has to bind. To know that, the market needs the curve by which a request
//! becomes a weight, and that is not the same on every node.

use std::f64::consts::LOG2_10;
use std::fmt;

use mbcas_core::MilliCpu;
use serde::{Deserialize, Serialize};

use crate::pour::{Taker, pour};

/// How a CPU request becomes a weight.
///
/// All three start from cgroup v1 shares, `milli × 1024 / 1000`, at least 2
/// (`kubernetes/kubernetes` `pkg/kubelet/cm/helpers_linux.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightCurve {
    /// cgroup v1: the shares themselves.
    Shares,
    /// cgroup v2 below runc 1.3.2 and crun 1.23: `1 + (shares − 2) · 9999 / 262142`,
    /// so coarse that 10m and 20m weigh the same.
    Linear,
    /// cgroup v2 from these on: `⌈10^((l² + 125·l) / 612 − 7/34)⌉` with `l = log₂ shares`.
    /// Eight times the request gives 5.3 times the weight.
    Quadratic,
}

impl WeightCurve {
    /// Every curve there is.
    pub const ALL: [Self; 3] = [Self::Shares, Self::Linear, Self::Quadratic];

    /// Its name, as configuration writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shares => "shares",
            Self::Linear => "linear",
            Self::Quadratic => "quadratic",
        }
    }

    /// The weight of a container with this request, at least 1.
    ///
    /// ```
    /// use mbcas_core::MilliCpu;
    /// use mbcas_market::weight::WeightCurve::{Linear, Quadratic, Shares};
    /// let weights = [100, 1000, 8000].map(|m| [Shares, Linear, Quadratic].map(|c| c.weight(MilliCpu::new(m))));
    /// assert_eq!(weights, [[102, 4, 17], [1024, 39, 100], [8192, 313, 532]]);
    /// ```
    pub fn weight(self, request: MilliCpu) -> u64 {
        let shares = request.scaled(1024, 1000).get().clamp(2, 262_144);
        match self {
            Self::Shares => shares,
            Self::Linear => 1 + (shares - 2) * 9_999 / 262_142,
            Self::Quadratic => quadratic(shares),
        }
    }
}

impl fmt::Display for WeightCurve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for WeightCurve {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|curve| curve.name() == name)
            .ok_or_else(|| "it must be shares, linear or quadratic".to_owned())
    }
}

/// Floats stay in here: the result is a whole number from a table of the same
/// numbers that the runtimes compute, and IEEE 754 gives them to far more digits than are used.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn quadratic(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let l = (shares as f64).log2();
    let exponent = l.mul_add(l, 125.0 * l) / 612.0 - 7.0 / 34.0;
    // 10^exponent: powers of two take half of the time.
    ((exponent * LOG2_10).exp2() - 1e-9).ceil() as u64
}

/// The weights of a node's participants, in their order, by each curve that counts there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Weights(Vec<Vec<u64>>);

impl Weights {
    pub(crate) fn of(requests: &[MilliCpu], curves: &[WeightCurve]) -> Self {
        let by = |curve: &WeightCurve| requests.iter().map(|r| curve.weight(*r)).collect();
        Self(curves.iter().map(by).collect())
    }

    /// One list for each curve.
    pub(crate) fn by_curve(&self) -> impl Iterator<Item = &[u64]> {
        self.0.iter().map(Vec::as_slice)
    }
}

/// One container as the kernel sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runner {
    /// Its weight.
    pub weight: u64,
    /// The most that it takes: its limit, or what it wants where that is less.
    pub most: MilliCpu,
}

/// What the kernel gives to each of `runners` while all of them want their most:
/// by weight, and what one does not take to the others by weight.
pub fn delivered(capacity: MilliCpu, runners: &[Runner]) -> Vec<MilliCpu> {
    let takers: Vec<_> = runners
        .iter()
        .map(|runner| Taker {
            weight: runner.weight,
            room: runner.most.get(),
        })
        .collect();
    let poured = pour(capacity.get(), &takers);
    poured.taken.into_iter().map(MilliCpu::new).collect()
}

/// The height of the water: CPU per weight, as an exact fraction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    amount: u64,
    weight: u64,
}

impl Level {
    /// Nothing for anybody.
    pub(crate) const ZERO: Self = Self {
        amount: 0,
        weight: 1,
    };

    /// The level at which `weight` gets `amount`.
    pub(crate) const fn of(amount: u64, weight: u64) -> Self {
        Self { amount, weight }
    }

    /// What `weight` gets at this level, rounded down.
    pub(crate) fn of_weight(self, weight: u64) -> u64 {
        let whole = self.weight.max(1);
        if let Some(product) = self.amount.checked_mul(weight) {
            return product / whole;
        }
        let product = u128::from(self.amount) * u128::from(weight);
        u64::try_from(product / u128::from(whole)).unwrap_or(u64::MAX)
    }
}

impl PartialEq for Level {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Level {}

impl PartialOrd for Level {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Level {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let cross = |a: &Self, b: &Self| u128::from(a.amount) * u128::from(b.weight);
        cross(self, other).cmp(&cross(other, self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of `kubernetes.io/blog/2026/01/30/new-cgroup-v1-to-v2-conversion-formula`
    /// and of the kubelet's own tests.
    #[test]
    fn requests_weigh_what_the_runtimes_make_of_them() {
        let table = [
            (10, 10, 1, 4),
            (100, 102, 4, 17),
            (250, 256, 10, 35),
            (500, 512, 20, 59),
            (1000, 1024, 39, 100),
            (2000, 2048, 79, 174),
            (4000, 4096, 157, 303),
            (8000, 8192, 313, 532),
            (16000, 16384, 625, 942),
        ];
        for (request, shares, linear, quadratic) in table {
            let weights = WeightCurve::ALL.map(|curve| curve.weight(MilliCpu::new(request)));
            assert_eq!(weights, [shares, linear, quadratic], "{request}m");
        }
        let least = WeightCurve::ALL.map(|curve| curve.weight(MilliCpu::ZERO));
        assert_eq!(least, [2, 1, 1]);
        let most = WeightCurve::ALL.map(|curve| curve.weight(MilliCpu::new(u64::MAX)));
        assert_eq!(most, [262_144, 10_000, 10_000]);
    }

    /// Rounding up is the same everywhere only because no other value is close to a whole number.
    #[test]
    fn no_weight_hangs_on_the_last_digits_of_a_float() {
        for shares in (3..262_144u32).filter(|shares| *shares != 1024) {
            let l = f64::from(shares).log2();
            let exact = 10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0);
            assert!((exact - exact.round()).abs() > 1e-8, "{shares}: {exact}");
        }
    }

    #[test]
    fn the_kernel_gives_by_weight_and_lends_what_is_not_taken() {
        let runner = |weight, most| Runner {
            weight,
            most: MilliCpu::new(most),
        };
        let got = delivered(
            MilliCpu::new(3600),
            &[runner(300, 800), runner(100, 9000), runner(100, 9000)],
        );
        assert_eq!(got, [800, 1400, 1400].map(MilliCpu::new));
    }

    #[test]
    fn levels_compare_as_the_fractions_that_they_are() {
        assert!(Level::of(1, 3) < Level::of(34, 100));
        assert!(Level::of(2, 6) >= Level::of(1, 3));
        assert!(Level::ZERO < Level::of(1, u64::MAX));
        assert_eq!(Level::of(800, 300).of_weight(100), 266);
    }
}
