//! Claims: what a jump of demand is worth before anybody has seen the usage.
//!
//! The kubelet measures every ten seconds or so; an agent says within one that
//! requests wait. A claim bridges the time between: it raises the need, by no
//! more than what the container is entitled to anyway, for no longer than
//! thirty seconds. Usage confirms it or it costs credit: after a claim that
//! nothing came of, the next one has to wait, twice as long each time. So
//! somebody who always cries gets nothing by it.

use std::time::Duration;

use mbcas_core::{Demand, MilliCpu};
use serde::{Deserialize, Serialize};

use crate::input::Usage;

/// A demand that is urgent: a queue of eight, see [`mbcas_core::demand::queue_pressure`].
pub(crate) const URGENT: Demand = Demand::from_basis_points(6_700);

/// By how many basis points a demand has to rise above its average to be a jump (research of the control loop, §2: or
/// a queue that stands is news 3,600 times an hour).
const JUMP: u64 = 3_000;

/// The least demand that is a jump for somebody whose demand is `average` as a rule; none if
/// no demand is.
pub fn jump(average: Demand) -> Option<Demand> {
    let least = average.basis_points() + JUMP;
    (least <= Demand::FULL.basis_points()).then(|| Demand::from_basis_points(least).max(URGENT))
}

/// A claim is so many times what was needed before (this and all below: research of the control loop, §2),
const TIMES: u64 = 3;
/// or so many times this where that is less.
const LEAST: MilliCpu = MilliCpu::new(50);

/// How long a claim stands.
const LIFE: Duration = Duration::from_secs(30);

/// How long after a claim it may be raised.
const AGAIN: Duration = Duration::from_secs(2);

/// A window that ends so long after a claim was made can confirm it.
const SETTLING: Duration = Duration::from_secs(3);

/// How long somebody waits after his first claim that nothing came of, and at the most.
const FIRST_PENALTY: Duration = Duration::from_mins(1);
const LONGEST_PENALTY: Duration = Duration::from_mins(32);

/// A claim is confirmed when so many percent are used of what was first claimed, half as much again as was used before,
const CONFIRMED_PERCENT: u64 = 50;
/// or so many percent of a limit that is lower, which is as much as was to be had.
///
/// Not of what it was raised to: the queue that asks for more takes its time to empty. Not of what the limit kept it
/// from: where limits are only observed, or a write is late, everybody who is honest would lose his credit.
const SPENT_PERCENT: u64 = 90;

/// What is remembered of one container's claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    #[serde(skip_serializing_if = "Option::is_none")]
    standing: Option<Claim>,
    /// How long the next penalty is; nothing for somebody whose word is good.
    penalty: Duration,
    blocked_until: Duration,
}

/// One claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    amount: MilliCpu,
    /// What was claimed before it was raised.
    first: MilliCpu,
    made: Duration,
    raised: Duration,
    /// A window ended that could have confirmed it.
    was_tested: bool,
    is_confirmed: bool,
}

/// What a container says and is known for, at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signal {
    pub(crate) now: Duration,
    /// Its demand at this moment, and on average.
    pub(crate) demand: Demand,
    pub(crate) average: Demand,
    /// What it needed before.
    pub(crate) need: MilliCpu,
    /// The most it may claim.
    pub(crate) entitlement: MilliCpu,
    /// It is known to be short: its queue is no news.
    pub(crate) is_short: bool,
    /// What it may use at most.
    pub(crate) limit: Option<MilliCpu>,
    pub(crate) usage: Option<Usage>,
}

impl Claims {
    /// What is claimed, for as long as it counts.
    pub fn amount(&self) -> Option<MilliCpu> {
        self.standing.map(|claim| claim.amount)
    }

    /// Until when no claim of its is heard.
    pub fn blocked_until(&self) -> Duration {
        self.blocked_until
    }

    /// After `signal`: a standing claim confirmed, raised or ended, a new one made.
    #[must_use]
    pub(crate) fn then(mut self, signal: &Signal) -> Self {
        if let Some(claim) = self.standing {
            self.standing = Some(claim.tested(signal));
        }
        self.end_what_is_over(signal);
        self.standing = match self.standing {
            Some(claim) => Some(claim.raised(signal)),
            None => self.may_claim(signal).then(|| Claim::new(signal)),
        };
        self
    }

    fn may_claim(&self, signal: &Signal) -> bool {
        let jumps = jump(signal.average).is_some_and(|least| signal.demand >= least);
        let is_allowed = signal.now >= self.blocked_until && !signal.is_short;
        is_allowed && jumps && signal.need < signal.entitlement
    }

    fn end_what_is_over(&mut self, signal: &Signal) {
        let Some(claim) = self.standing else { return };
        if claim.is_confirmed {
            self.penalty /= 4;
            if self.penalty < FIRST_PENALTY {
                self.penalty = Duration::ZERO;
            }
            self.standing = None;
        } else if signal.now >= claim.made + LIFE {
            // Without a window nothing is known against him.
            if claim.was_tested {
                if signal.now >= self.blocked_until + LONGEST_PENALTY {
                    // That was long ago.
                    self.penalty = Duration::ZERO;
                }
                self.penalty = (self.penalty * 2).clamp(FIRST_PENALTY, LONGEST_PENALTY);
                self.blocked_until = signal.now + self.penalty;
            }
            self.standing = None;
        }
    }
}

impl Claim {
    fn new(signal: &Signal) -> Self {
        let needed = signal.need.max(LEAST);
        let amount = needed.scaled(TIMES, 1).min(signal.entitlement);
        Self {
            amount,
            first: amount,
            made: signal.now,
            raised: signal.now,
            was_tested: false,
            is_confirmed: false,
        }
    }

    fn tested(mut self, signal: &Signal) -> Self {
        let window = signal
            .usage
            .filter(|usage| usage.until >= self.made + SETTLING);
        if let Some(window) = window {
            self.was_tested = true;
            let half = self.first.scaled(CONFIRMED_PERCENT, 100);
            let spent = signal.limit.map(|limit| limit.scaled(SPENT_PERCENT, 100));
            self.is_confirmed = window.cpu >= spent.map_or(half, |spent| half.min(spent));
        }
        self
    }

    fn raised(mut self, signal: &Signal) -> Self {
        let too_small = signal.demand >= URGENT && self.amount < signal.entitlement;
        if too_small && signal.now >= self.raised + AGAIN && !self.was_tested {
            self.amount = self.amount.scaled(TIMES, 1).min(signal.entitlement);
            self.raised = signal.now;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(seconds: u64, demand: u64, usage: Option<(u64, u64)>) -> Signal {
        Signal {
            now: Duration::from_secs(seconds),
            demand: Demand::from_basis_points(demand),
            average: Demand::ZERO,
            need: MilliCpu::new(100),
            entitlement: MilliCpu::new(1000),
            is_short: false,
            limit: None,
            usage: usage.map(|(until, cpu)| Usage {
                cpu: MilliCpu::new(cpu),
                until: Duration::from_secs(until),
            }),
        }
    }

    fn amount(claims: Claims) -> Option<u64> {
        claims.amount().map(MilliCpu::get)
    }

    #[test]
    fn a_jump_claims_three_times_the_need_and_more_while_it_lasts() {
        let claims = Claims::default().then(&signal(100, 7_000, None));
        assert_eq!(amount(claims), Some(300));
        let claims = claims.then(&signal(101, 9_000, None));
        assert_eq!(amount(claims), Some(300), "two seconds are not over");
        let claims = claims.then(&signal(102, 9_000, None));
        assert_eq!(amount(claims), Some(900));
        let claims = claims.then(&signal(104, 9_000, None));
        assert_eq!(
            amount(claims),
            Some(1000),
            "what it is entitled to, and no more"
        );
    }

    #[test]
    fn no_jump_no_claim() {
        let calm = Claims::default();
        assert_eq!(calm.then(&signal(1, 6_000, None)), calm, "not urgent");
        let usual = Signal {
            average: Demand::from_basis_points(6_000),
            ..signal(1, 8_000, None)
        };
        assert_eq!(calm.then(&usual), calm, "no news");
        let short = Signal {
            is_short: true,
            ..signal(1, 9_000, None)
        };
        assert_eq!(calm.then(&short), calm, "it is known");
        let rich = Signal {
            need: MilliCpu::new(1000),
            ..signal(1, 9_000, None)
        };
        assert_eq!(calm.then(&rich), calm, "it has what it is entitled to");
    }

    #[test]
    fn use_confirms_a_claim_and_then_speaks_for_itself() {
        let claims = Claims::default().then(&signal(100, 7_000, None));
        let early = claims.then(&signal(102, 0, Some((102, 300))));
        assert_eq!(amount(early), Some(300), "that window says nothing yet");
        let late = claims.then(&signal(110, 0, Some((110, 160))));
        assert_eq!(late, Claims::default());
    }

    /// Whether a claim is held against one of whom `signals` were heard after it was made.
    fn is_blamed(made: Signal, signals: &[Signal]) -> bool {
        let claims = Claims::default().then(&made);
        assert!(claims.amount().is_some());
        let then = |claims: Claims, signal| claims.then(signal);
        let claims = signals.iter().fold(claims, then);
        assert_eq!(claims.amount(), None);
        claims.blocked_until() > Duration::ZERO
    }

    #[test]
    fn nobody_is_blamed_for_what_the_limit_kept_him_from() {
        let at = |seconds, demand, usage, limit| Signal {
            limit: Some(MilliCpu::new(limit)),
            ..signal(seconds, demand, usage)
        };
        // Its mode is observe: nobody raises it.
        let held = [
            at(115, 9_500, Some((115, 199)), 200),
            at(130, 0, Some((130, 199)), 200),
        ];
        assert!(!is_blamed(at(100, 9_500, None, 200), &held));
        let idle = [
            at(115, 9_500, Some((115, 20)), 200),
            at(130, 0, Some((130, 20)), 200),
        ];
        assert!(is_blamed(at(100, 9_500, None, 200), &idle));
        // What it used before is no news, though it is more than half of a small limit.
        let usual = [
            at(115, 9_500, Some((115, 100)), 150),
            at(130, 0, Some((130, 100)), 150),
        ];
        assert!(is_blamed(at(100, 9_500, None, 150), &usual));
    }

    #[test]
    fn a_claim_that_was_raised_is_confirmed_by_what_was_claimed_first() {
        // It needs 400m where it needed 100m, and its queue is long for six seconds.
        let raised = [
            signal(103, 9_000, None),
            signal(106, 9_000, None),
            signal(115, 0, Some((115, 400))),
        ];
        assert!(!is_blamed(signal(100, 9_000, None), &raised));
    }

    #[test]
    fn a_claim_stands_for_thirty_seconds_and_a_window_of_before_says_nothing_of_it() {
        let claims = Claims::default().then(&signal(100, 9_000, None));
        let claims = claims.then(&signal(129, 0, Some((101, 10))));
        assert_eq!(amount(claims), Some(300));
        let over = claims.then(&signal(130, 0, Some((101, 10))));
        assert_eq!(over, Claims::default());
    }

    #[test]
    fn the_least_claim_is_three_times_fifty() {
        let small = Signal {
            need: MilliCpu::new(1),
            ..signal(100, 9_000, None)
        };
        assert_eq!(amount(Claims::default().then(&small)), Some(150));
    }

    #[test]
    fn a_jump_is_three_tenths_above_the_average_and_urgent() {
        let least = |average| jump(Demand::from_basis_points(average)).map(Demand::basis_points);
        assert_eq!(least(0), Some(6_700));
        assert_eq!(least(3_700), Some(6_700));
        assert_eq!(least(5_000), Some(8_000));
        assert_eq!(least(7_000), Some(10_000));
        assert_eq!(least(7_001), None);
    }

    #[test]
    fn what_was_long_ago_costs_no_more_than_once() {
        let cries = |claims: Claims, now: u64| {
            let claims = claims.then(&signal(now, 9_000, None));
            let claims = claims.then(&signal(now + 30, 0, Some((now + 20, 10))));
            let until = claims.blocked_until().as_secs();
            (claims, until - now - 30)
        };
        let (claims, first) = cries(Claims::default(), 1_000);
        let (claims, second) = cries(claims, 1_100);
        assert_eq!((first, second), (60, 120));
        let (_, third) = cries(claims, 1_250 + LONGEST_PENALTY.as_secs());
        assert_eq!(third, 60);
    }

    #[test]
    fn crying_costs_credit_twice_as_much_each_time_and_being_right_brings_it_back() {
        let mut claims = Claims::default();
        let mut now = 1000;
        let mut waits = Vec::new();
        for _ in 0..7 {
            claims = claims.then(&signal(now, 9_000, None));
            assert!(claims.amount().is_some());
            claims = claims.then(&signal(now + 30, 0, Some((now + 20, 100))));
            assert_eq!(claims.amount(), None);
            waits.push(claims.blocked_until().as_secs() - now - 30);
            let unheard = claims.then(&signal(now + 31, 9_000, None));
            assert_eq!(unheard.amount(), None);
            now = claims.blocked_until().as_secs();
        }
        assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 1920]);
        claims = claims.then(&signal(now, 9_000, None));
        claims = claims.then(&signal(now + 10, 0, Some((now + 10, 900))));
        assert_eq!(claims.penalty, Duration::from_mins(8));
    }

    #[test]
    fn a_silent_kubelet_is_held_against_nobody() {
        let claims = Claims::default().then(&signal(100, 7_000, None));
        assert_eq!(
            claims.then(&signal(130, 7_000, None)).blocked_until(),
            Duration::ZERO
        );
    }
}
