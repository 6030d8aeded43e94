//! What holds for every set of limits.

use proptest::prelude::*;

use super::*;
use crate::weight::{Runner, WeightCurve, delivered};

/// A party, and the request that its weight comes from.
#[derive(Clone, Copy, Debug)]
struct Requested {
    request: MilliCpu,
    party: Party,
}

impl std::ops::Deref for Requested {
    type Target = Party;
    fn deref(&self) -> &Party {
        &self.party
    }
}

fn bounded(capacity: u64, node: &[Requested], curves: &[WeightCurve]) -> Vec<Bounded> {
    let requests: Vec<MilliCpu> = node.iter().map(|p| p.request).collect();
    let weights = Weights::of(&requests, curves);
    let parties: Vec<Party> = node.iter().map(|p| p.party).collect();
    enforce(capacity, &parties, &weights)
}

/// Amounts are so fine that rounding is nothing beside what the laws are about.
const FINE: u64 = 10_000;

/// A node: capacity, and parties whose promises fit into it.
fn node() -> impl Strategy<Value = (u64, Vec<Requested>)> {
    let one = (
        prop_oneof![Just(100u64), 10u64..2_000],
        1u64..1_000,
        1u64..150,
        0u64..400,
        prop::bool::weighted(0.4),
        0u64..300,
    );
    (prop::collection::vec(one, 1..10), 0u64..300).prop_map(|(ones, spare)| {
        let party =
            |(request, bid, grant, room, is_short, overdraft): (u64, u64, u64, u64, bool, u64)| {
                let (grant, room, overdraft) = (grant * FINE, room * FINE, overdraft * FINE);
                let cap = grant + room;
                let party = Party {
                    bid,
                    floor: grant.min(5),
                    cap,
                    grant,
                    protected: if is_short { 0 } else { grant },
                    entitlement: cap,
                    is_short,
                    overdraft: u64::min(overdraft, cap),
                };
                let request = MilliCpu::new(request);
                Requested { request, party }
            };
        let parties: Vec<Requested> = ones.into_iter().map(party).collect();
        // Something is left only where nobody is short.
        let spare = if parties.iter().any(|p| p.is_short) {
            0
        } else {
            spare
        };
        (
            parties.iter().map(|p| p.grant).sum::<u64>() + spare * FINE,
            parties,
        )
    })
}

fn curve() -> impl Strategy<Value = WeightCurve> {
    prop::sample::select(WeightCurve::ALL.to_vec())
}

/// What the kernel gives, in quanta, while the short ones take all that `limits` let them.
fn served(capacity: u64, parties: &[Requested], limits: &[u64], curve: WeightCurve) -> Vec<u64> {
    let runner = |(party, limit): (&Requested, &u64)| Runner {
        weight: curve.weight(party.request),
        most: MilliCpu::new(if party.is_short {
            *limit
        } else {
            party.protected
        }),
    };
    let runners: Vec<Runner> = parties.iter().zip(limits).map(runner).collect();
    let served = delivered(MilliCpu::new(capacity), &runners);
    served.into_iter().map(MilliCpu::get).collect()
}

/// Whether every promise is kept, so many percent of it to the short ones, but for one unit of rounding.
fn keeps(
    capacity: u64,
    parties: &[Requested],
    limits: &[u64],
    curve: WeightCurve,
    percent: u64,
) -> bool {
    let served = served(capacity, parties, limits, curve);
    parties.iter().zip(served).all(|(party, got)| {
        if party.is_short {
            (got + 1) * 100 >= party.grant * percent
        } else {
            got + 1 >= party.protected
        }
    })
}

fn limits(capacity: u64, parties: &[Requested], curves: &[WeightCurve]) -> Vec<u64> {
    bounded(capacity, parties, curves)
        .into_iter()
        .map(|bounded| bounded.limit)
        .collect()
}

/// Whether the satisfied one `i`, gone greedy alone up to `limit`, takes another's protected amount.
fn harms(
    capacity: u64,
    parties: &[Requested],
    bounded: &[Bounded],
    i: usize,
    limit: u64,
    curve: WeightCurve,
) -> bool {
    let most = |j: usize| match parties[j].is_short {
        _ if j == i => limit,
        true => bounded[j].limit,
        false => parties[j].protected,
    };
    let runner = |j: usize| Runner {
        weight: curve.weight(parties[j].request),
        most: MilliCpu::new(most(j)),
    };
    let runners: Vec<Runner> = (0..parties.len()).map(runner).collect();
    let got = delivered(MilliCpu::new(capacity), &runners);
    let mut others = (0..parties.len()).filter(|j| *j != i && !parties[*j].is_short);
    others.any(|j| got[j].get() + 1 < parties[j].protected)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn promises_are_kept_whatever_the_short_ones_do(
        (capacity, parties) in node(), curve in curve(), takes in prop::collection::vec(0u64..=100, 10),
    ) {
        let limits = limits(capacity, &parties, &[curve]);
        prop_assert!(keeps(capacity, &parties, &limits, curve, NEARLY_PERCENT), "{limits:?}");
        // And if they take less, nobody else is worse off.
        let less: Vec<u64> = limits.iter().zip(&takes).map(|(limit, percent)| limit * percent / 100).collect();
        let served = served(capacity, &parties, &less, curve);
        for (party, got) in parties.iter().zip(served).filter(|(party, _)| !party.is_short) {
            prop_assert!(got + 1 >= party.protected);
        }
    }

    #[test]
    fn they_are_kept_under_every_curve_where_the_curve_is_not_known((capacity, parties) in node()) {
        let limits = limits(capacity, &parties, &WeightCurve::ALL);
        for curve in WeightCurve::ALL {
            let served = served(capacity, &parties, &limits, curve);
            for (party, got) in parties.iter().zip(served).filter(|(party, _)| !party.is_short) {
                prop_assert!(got + 1 >= party.protected, "{curve}: {got} of {}", party.protected);
            }
        }
    }

    #[test]
    fn no_limit_of_a_short_one_is_tighter_than_that_needs((capacity, parties) in node(), curve in curve()) {
        let bounded = bounded(capacity, &parties, &[curve]);
        let limits: Vec<u64> = bounded.iter().map(|b| b.limit).collect();
        let held = bounded.iter().enumerate().filter(|(_, b)| b.by == Binding::Grant);
        for (i, _) in held {
            let mut looser = limits.clone();
            looser[i] += FINE;
            let looser_breaks = !keeps(capacity, &parties, &looser, curve, WHOLE_PERCENT);
            prop_assert!(looser_breaks || looser[i] >= parties[i].cap, "{i} of {bounded:?}");
        }
    }

    #[test]
    fn nor_is_one_of_a_satisfied_one((capacity, parties) in node(), curve in curve()) {
        let bounded = bounded(capacity, &parties, &[curve]);
        let held = bounded.iter().enumerate().filter(|(_, b)| b.by == Binding::Overdraft);
        for (i, _) in held {
            let looser = bounded[i].limit + FINE;
            prop_assert!(
                looser >= parties[i].cap || harms(capacity, &parties, &bounded, i, looser, curve),
                "{i} of {bounded:?}"
            );
        }
    }

    #[test]
    fn a_limit_is_never_below_a_grant_and_never_above_a_cap((capacity, parties) in node()) {
        for (party, bounded) in parties.iter().zip(bounded(capacity, &parties, &WeightCurve::ALL)) {
            prop_assert!(bounded.limit >= party.grant.min(party.cap), "{party:?} {bounded:?}");
            prop_assert!(bounded.limit <= party.cap.max(party.floor));
        }
    }

    #[test]
    fn one_satisfied_one_that_has_no_limit_harms_no_other((capacity, parties) in node(), curve in curve()) {
        let bounded = bounded(capacity, &parties, &[curve]);
        let unlimited = (0..parties.len()).filter(|i| !parties[*i].is_short && bounded[*i].by == Binding::Cap);
        for i in unlimited {
            let limit = bounded[i].limit;
            prop_assert!(!harms(capacity, &parties, &bounded, i, limit, curve), "{i} of {bounded:?}");
        }
    }
}

fn satisfied(request: u64, protected: u64) -> Requested {
    let party = Party {
        bid: 600,
        floor: 1,
        cap: 390,
        grant: protected,
        protected,
        entitlement: 390,
        is_short: false,
        overdraft: 200,
    };
    Requested {
        request: MilliCpu::new(request),
        party,
    }
}

fn short(request: u64, grant: u64) -> Requested {
    let Requested { request, party } = satisfied(request, 0);
    let party = Party {
        bid: 100,
        grant,
        is_short: true,
        ..party
    };
    Requested { request, party }
}

fn outcome(parties: &[Requested]) -> Vec<(u64, Binding)> {
    let bounded = bounded(360, parties, &[WeightCurve::Shares]);
    bounded.into_iter().map(|b| (b.limit, b.by)).collect()
}

#[test]
fn where_requests_are_right_nobody_is_held() {
    let node = [satisfied(900, 80), short(300, 280)];
    assert_eq!(
        outcome(&node),
        [(390, Binding::Cap), (390, Binding::Weights)]
    );
}

#[test]
fn where_requests_are_wrong_the_greedy_one_is_held_and_the_victim_is_not() {
    let node = [satisfied(100, 80), short(1000, 280)];
    assert_eq!(outcome(&node), [(390, Binding::Cap), (280, Binding::Grant)]);
}

#[test]
fn weights_that_split_otherwise_than_budgets_are_corrected() {
    // Equal requests, grants 6 : 3 : 1: the first one needs no limit.
    let node = [short(100, 216), short(100, 108), short(100, 36)];
    let limits = outcome(&node);
    assert_eq!(limits[0], (390, Binding::Weights));
    assert_eq!([limits[1].1, limits[2].1], [Binding::Grant; 2]);
    let right = [short(600, 216), short(300, 108), short(100, 36)];
    assert!(
        outcome(&right)
            .iter()
            .all(|limit| *limit == (390, Binding::Weights))
    );
}

#[test]
fn one_that_could_overrun_others_has_what_harms_nobody_and_what_it_earned() {
    // Nobody is short; the heavy one could take nearly all of the node, of which the light one has 80.
    let node = [satisfied(10, 80), satisfied(2000, 100)];
    let heavy = |limit| [(390, Binding::Cap), (limit, Binding::Overdraft)];
    assert_eq!(outcome(&node), heavy(280));
    // It has earned 200, and more than 280 where more is promised to the light one.
    assert_eq!(outcome(&[satisfied(10, 200), node[1]]), heavy(200));
    assert_eq!(overdraft(None), MilliCpu::ZERO);
    assert_eq!(overdraft(Some(MilliCpu::new(50))), MilliCpu::new(450));
    assert_eq!(overdraft(Some(MilliCpu::new(500))), MilliCpu::new(2600));
}

#[test]
fn what_one_has_beyond_its_entitlement_holds_nobody_back() {
    let lucky = Requested {
        party: Party {
            entitlement: 20,
            ..satisfied(100, 250).party
        },
        ..satisfied(100, 250)
    };
    let node = [lucky, satisfied(1000, 50)];
    assert_eq!(outcome(&node)[1], (390, Binding::Cap));
    let entitled = [satisfied(100, 250), satisfied(1000, 50)];
    assert_eq!(outcome(&entitled)[1], (200, Binding::Overdraft));
}
