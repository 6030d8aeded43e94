//! What a CPU request weighs in the kernel.

use mbcas_core::MilliCpu;

/// How a request becomes a weight. Kubernetes makes `max(2, milli × 1024 / 1000)`
/// shares of it; cgroup v2 knows weights from 1 to 10,000, and the
/// container runtime translates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Curve {
    /// cgroup v1: the shares themselves.
    #[default]
    V1,
    /// cgroup v2 before runc 1.3.2 and crun 1.23: a line, rounded to few steps.
    V2Legacy,
    /// cgroup v2 since then: bent, so that eight times the request is only 5.3 times the weight.
    V2New,
}

/// The fewest shares there are: what a container without a request has.
const LEAST_SHARES: u64 = 2;
/// The most, where both curves of cgroup v2 end.
const MOST_SHARES: u64 = 262_144;

impl Curve {
    /// The weight of `request`, against others by the same curve.
    pub fn weight(self, request: MilliCpu) -> u64 {
        let shares = request
            .scaled(1024, 1000)
            .get()
            .clamp(LEAST_SHARES, MOST_SHARES);
        match self {
            Self::V1 => shares,
            Self::V2Legacy => 1 + (shares - 2) * 9_999 / 262_142,
            Self::V2New => bent(shares),
        }
    }
}

/// `⌈10^((l² + 125·l) / 612 − 7/34)⌉`, `l = log2(shares)`: runc pull request 4785.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // from 1 to 10,000
#[allow(clippy::cast_precision_loss)] // at most 2^18
fn bent(shares: u64) -> u64 {
    if shares <= LEAST_SHARES {
        return 1;
    }
    let l = (shares as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).min(10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Request, shares, and both weights of cgroup v2, as runtimes write them.
    #[test]
    fn the_curves_are_the_runtimes_own() {
        let table = [
            (10, 10, 1, 4),
            (100, 102, 4, 17),
            (250, 256, 10, 35),
            (500, 512, 20, 59),
            (1_000, 1_024, 39, 100),
            (2_000, 2_048, 79, 174),
            (4_000, 4_096, 157, 303),
            (8_000, 8_192, 313, 532),
            (16_000, 16_384, 625, 942),
        ];
        for (request, shares, legacy, new) in table {
            let request = MilliCpu::new(request);
            let weights = [Curve::V1, Curve::V2Legacy, Curve::V2New].map(|c| c.weight(request));
            assert_eq!(weights, [shares, legacy, new], "{request}");
        }
    }

    #[test]
    fn the_ends_of_the_curves() {
        for curve in [Curve::V2Legacy, Curve::V2New] {
            assert_eq!(curve.weight(MilliCpu::ZERO), 1);
            assert_eq!(curve.weight(MilliCpu::new(u64::MAX)), 10_000);
        }
        assert_eq!(Curve::V1.weight(MilliCpu::ZERO), 2);
    }
}
