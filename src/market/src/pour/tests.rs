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

/// All takers as open ones, none of them full, and what they share in 128 bits.
fn all_open(amount: u64, takers: &[Taker]) -> (Vec<Open>, Pool<u128>) {
    let open = (0..).zip(takers).map(|(place, taker)| Open {
        taker: *taker,
        place,
    });
    let pool = Pool {
        weight: takers.iter().map(|t| u128::from(t.weight)).sum(),
        amount: u128::from(amount),
    };
    (open.collect(), pool)
}

/// In 128 bits and with at most so many rounds before sorting.
fn pour_within(rounds: u32, amount: u64, takers: &[Taker]) -> Poured {
    let able: Vec<Taker> = takers.iter().filter(|t| t.most() > 0).copied().collect();
    let (mut open, pool) = all_open(amount, &able);
    let mut able_taken: Vec<u64> = able.iter().map(|t| t.room).collect();
    let basin = Basin {
        taken: &mut able_taken,
        open: &mut open,
    };
    let rest = basin.divide(pool, &mut Vec::new(), rounds);
    let mut able_taken = able_taken.into_iter();
    let mut take = |t: &Taker| (t.most() > 0).then(|| able_taken.next()).flatten();
    let taken = takers.iter().map(|t| take(t).unwrap_or(0)).collect();
    Poured { taken, rest }
}

/// How many rounds it takes.
fn rounds(amount: u64, takers: &[Taker]) -> u32 {
    let (mut open, mut pool) = all_open(amount, takers);
    let mut basin = Basin {
        taken: &mut [],
        open: &mut open,
    };
    (0..u32::MAX)
        .find(|_| !basin.fill_the_full(&mut pool))
        .unwrap()
}

/// Takers of which one is full per round: each room is just above what the
/// level before would have filled, and the one after it leaves enough to raise the level over it.
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
    let mut takers: Vec<Taker> = weights.iter().map(link).collect();
    takers.reverse();
    takers
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
