//! How well a node served: what its pods got of what they could have used.

use super::time::Nanos;

/// Seconds of one pod, each by the part that was served of what it could have used in it.
///
/// *Could have used* is the CPU time that it used and that of the requests that wait
/// at the second's end, at most what its threads can use in a second. A burner could
/// always have used all that its threads can. One millisecond is added to both, so
/// that a second in which nothing was got of something is bad and not infinitely bad.
#[derive(Clone, Copy, Debug, Default)]
pub struct Served {
    /// Σ ln(used / could have used), in nats; at most zero.
    logarithms: f64,
    seconds: f64,
}

impl Served {
    /// A further second in which `used` was used, and `waiting` waits at its end for threads that
    /// can use `most` in a second.
    pub fn second(&mut self, used: Nanos, waiting: Nanos, most: Nanos) {
        let could = (used + waiting).min(most).max(used);
        self.logarithms += ((used + Nanos::STEP).seconds() / (could + Nanos::STEP).seconds()).ln();
        self.seconds += 1.0;
    }

    /// The mean over the seconds, in nats; zero where everything was served at once.
    pub fn mean(&self) -> f64 {
        self.logarithms / f64::max(self.seconds, 1.0)
    }
}

/// Welfare from 0 to 1: the mean, weighted by budgets and geometric, of the parts that pods
/// were served, `exp(Σ budget · mean ln(used / could have used) / Σ budget)`.
///
/// It is the market's own measure, `Σ budget · log(what is got)`, against what there was to
/// get, so that it has no unit and a loss of 0.01 is one percent of everybody's CPU. Floors
/// are not taken off: what is got is measured, and can be less than a floor that nobody needs.
pub fn welfare(pods: impl Iterator<Item = (u64, Served)>) -> f64 {
    #[allow(clippy::cast_precision_loss)] // budgets are far below 2^52
    let (sum, budgets) = pods.fold((0.0, 0.0), |(sum, budgets), (budget, served)| {
        let budget = budget as f64;
        (sum + budget * served.mean(), budgets + budget)
    });
    (sum / f64::max(budgets, 1.0)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(seconds: &[(u64, u64)]) -> Served {
        let mut served = Served::default();
        for (used, waiting) in seconds {
            let [used, waiting] = [used, waiting].map(|ms| Nanos::millis(*ms));
            served.second(used, waiting, Nanos::SECOND.times(4));
        }
        served
    }

    fn near(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 0.002
    }

    #[test]
    fn all_served_is_one_and_parts_count_by_budget() {
        let (whole, half) = (served(&[(500, 0), (0, 0)]), served(&[(500, 500); 3]));
        assert!(near(welfare([(600, whole)].into_iter()), 1.0));
        assert!(near(welfare([(600, half)].into_iter()), 0.5));
        // One in four of the budgets at a half: the fourth root of it.
        let mixed = welfare([(300, whole), (100, half)].into_iter());
        assert!(near(mixed, 0.5f64.powf(0.25)), "{mixed}");
        assert!(near(welfare(std::iter::empty()), 1.0));
    }

    #[test]
    fn no_more_is_missed_than_threads_could_have_used() {
        let swamped = served(&[(1_000, 60_000)]);
        assert!(near(welfare([(1, swamped)].into_iter()), 0.25));
    }
}
