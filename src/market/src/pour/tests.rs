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

/// In 128 bits and with at most so many rounds before sorting, and how many takers were left to sort.
fn pour_within(rounds: u32, amount: u64, takers: &[Taker]) -> Poured {
    let mut taken = vec![0; takers.len()];
    let able = |i: &u32| takers[*i as usize].weight > 0 && takers[*i as usize].room > 0;
    let mut open: Vec<u32> = (0..u32::try_from(takers.len()).unwrap())
        .filter(able)
        .collect();
    let weight = open
        .iter()
        .map(|i| u128::from(takers[*i as usize].weight))
        .sum();
    let basin = Basin {
        takers,
        taken: &mut taken,
        open: &mut open,
    };
    let rest = basin.divide((weight, u128::from(amount)), &mut Vec::new(), rounds);
    Poured { taken, rest }
}

/// How many rounds it takes.
fn rounds(amount: u64, takers: &[Taker]) -> u32 {
    let mut taken = vec![0; takers.len()];
    let mut open: Vec<u32> = (0..u32::try_from(takers.len()).unwrap()).collect();
    let (mut weight, mut left) = (
        takers.iter().map(|t| u128::from(t.weight)).sum(),
        u128::from(amount),
    );
    let mut basin = Basin {
        takers,
        taken: &mut taken,
        open: &mut open,
    };
    (0..u32::MAX)
        .find(|_| !basin.fill_the_full(&mut weight, &mut left))
        .unwrap()
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
    let needed = rounds(amount, &takers);
    assert!(needed > ROUNDS, "{needed} rounds");
    assert_eq!(
        pour(amount, &takers),
        pour_within(u32::MAX, amount, &takers)
    );
    assert_eq!(pour(amount, &takers), pour_within(0, amount, &takers));
}

proptest! {
    #[test]
    fn rounds_and_sorting_give_the_same_and_so_do_64_and_128_bits(amount in 0u64..1 << 34, takers in takers()) {
        let poured = pour(amount, &takers);
        prop_assert_eq!(&poured, &pour_within(0, amount, &takers));
        prop_assert_eq!(&poured, &pour_within(ROUNDS, amount, &takers));
    }

    #[test]
    fn what_was_poured_before_changes_nothing(amounts in prop::collection::vec((0u64..1 << 34, takers()), 1..5)) {
        let mut pourer = Pourer::default();
        for (amount, takers) in amounts {
            let rest = pourer.pour(amount, &takers);
            prop_assert_eq!(Poured { taken: pourer.taken().to_vec(), rest }, pour(amount, &takers));
        }
    }

    #[test]
    fn nothing_is_lost_and_nothing_is_left_beside_an_empty_cup(amount in 0u64..1 << 34, takers in takers()) {
        let poured = pour(amount, &takers);
        prop_assert_eq!(poured.taken.iter().sum::<u64>() + poured.rest.left, amount);
        for (taker, taken) in takers.iter().zip(&poured.taken) {
            prop_assert!(*taken <= taker.room);
            prop_assert!(taker.weight > 0 || *taken == 0);
            prop_assert!(poured.rest.left == 0 || taker.weight == 0 || *taken == taker.room);
        }
    }
}
