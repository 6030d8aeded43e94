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

#[test]
fn a_chain_that_fills_one_after_the_other_falls_back_to_the_sorted_way() {
    // Each room is a little more than the level before it, so that one taker is full per round.
    let weights = (0..40u32).map(|i| 1u64 << i.min(33));
    let takers: Vec<Taker> = weights.map(|weight| Taker { weight, room: 3 }).collect();
    for amount in [0, 1, 59, 60, 100, 119, 120, 500] {
        let poured = pour(amount, &takers);
        assert_eq!(poured, pour_in_order(amount, &takers));
        assert_eq!(poured.taken.iter().sum::<u64>() + poured.left, amount);
    }
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
