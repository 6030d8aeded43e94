use proptest::prelude::*;

use super::*;

fn takers() -> impl Strategy<Value = Vec<Taker>> {
    let room = prop_oneof![0u64..50, (0u32..30).prop_map(|bits| 1 << bits)];
    let weight = prop_oneof![0u64..10, (0u32..33).prop_map(|bits| 1 << bits)];
    prop::collection::vec(
        (weight, room).prop_map(|(weight, room)| Taker { weight, room }),
        0..70,
    )
}

/// Only the sorted way.
fn pour_in_order(amount: u64, takers: &[Taker]) -> Poured {
    let mut basin = Basin::new(amount, takers);
    basin.fill_in_order();
    basin.share_out()
}

/// Takers of which one is full per round: each room is just above what the
/// level before would have filled, and the one before it leaves enough to raise the level over it.
fn chain(amount: u64) -> Vec<Taker> {
    let weights: Vec<u64> = (0..30u32).map(|i| 1 << (33 - i)).collect();
    let (mut left, mut open) = (amount, weights.iter().sum::<u64>());
    let mut room = 1;
    let link = |weight: &u64| {
        let taker = Taker {
            weight: *weight,
            room,
        };
        let share = u128::from(*weight) / 2 * u128::from(left) / u128::from(open);
        room = u64::try_from(share).unwrap() + 1;
        left -= taker.room;
        open -= weight;
        taker
    };
    weights.iter().map(link).collect()
}

#[test]
fn a_chain_that_fills_one_after_the_other_falls_back_to_the_sorted_way() {
    let amount = 1 << 60;
    let takers = chain(amount);
    let (mut by_rounds, mut rounds) = (Basin::new(amount, &takers), 0);
    while by_rounds.fill_the_full() {
        rounds += 1;
    }
    assert!(rounds > ROUNDS, "{rounds} rounds");
    assert_eq!(pour(amount, &takers), by_rounds.share_out());
    assert_eq!(pour(amount, &takers), pour_in_order(amount, &takers));
}

proptest! {
    #[test]
    fn rounds_and_sorting_give_the_same(amount in 0u64..1 << 34, takers in takers()) {
        prop_assert_eq!(pour(amount, &takers), pour_in_order(amount, &takers));
    }

    #[test]
    fn nothing_is_lost_and_nothing_is_left_beside_an_empty_cup(amount in 0u64..1 << 34, takers in takers()) {
        let poured = pour(amount, &takers);
        prop_assert_eq!(poured.taken.iter().sum::<u64>() + poured.left, amount);
        for (taker, taken) in takers.iter().zip(&poured.taken) {
            prop_assert!(*taken <= taker.room);
            prop_assert!(taker.weight > 0 || *taken == 0);
            prop_assert!(poured.left == 0 || taker.weight == 0 || *taken == taker.room);
        }
    }
}
