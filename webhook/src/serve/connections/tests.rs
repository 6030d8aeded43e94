use futures::FutureExt;
use prometheus::{Registry, TextEncoder};

use super::*;

/// Addresses of two who have nothing to do with each other.
const SOMEBODY: [u8; 4] = [10, 0, 0, 1];
const SOMEBODY_ELSE: [u8; 4] = [10, 0, 0, 2];

struct Hall {
    all: Arc<Connections>,
    registry: Registry,
    closing: CancellationToken,
}

fn hall() -> Hall {
    let (registry, closing) = (Registry::new(), CancellationToken::new());
    let metrics = Metrics::register(&registry).unwrap();
    let all = Connections::new(closing.clone(), metrics);
    Hall {
        all,
        registry,
        closing,
    }
}

impl Hall {
    fn enter(&self) -> Place {
        self.enter_from(SOMEBODY).expect("a place")
    }

    fn enter_from(&self, peer: [u8; 4]) -> Option<Place> {
        self.all.enter(peer.into())
    }

    fn fill(&self, places: usize) -> Vec<Place> {
        (0..places).map(|_| self.enter()).collect()
    }

    fn counts(&self, line: &str) {
        let text = TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap();
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

/// Asks as an API server does, which reads what it is answered.
fn review(place: &Place) {
    place.ask().answered(0, true).read();
}

fn gone(place: &Place) -> bool {
    place.connection.leave.is_cancelled()
}

#[test]
fn as_long_as_there_is_room_nobody_has_to_go() {
    let hall = hall();
    let places = hall.fill(MOST - SPARE);
    assert!(!places.iter().any(gone));
    hall.counts(&format!("mbcas_admission_connections {}", MOST - SPARE));
    drop(places);
    hall.all.sweep();
    hall.counts("mbcas_admission_connections 0");
}

#[test]
fn when_places_get_rare_those_go_first_that_never_asked_and_then_the_idlest() {
    let hall = hall();
    let (busy, old, new) = (hall.enter(), hall.enter(), hall.enter());
    let asking = busy.ask();
    drop(old.ask());
    hall.all.sweep();
    drop(new.ask());
    let silent = hall.fill(MOST - SPARE - 3);
    hall.all.sweep();
    hall.all.sweep();
    let mut more = vec![hall.enter()];
    assert!(gone(&silent[0]) && !gone(&silent[1]) && !gone(&old));

    // The silent ones have left; what is there has asked, and one of them is being answered.
    drop(silent);
    drop(more.pop());
    let mut asked = hall.fill(MOST - SPARE - 3);
    for place in &asked {
        drop(place.ask());
    }
    asked.push(hall.enter());
    assert!(gone(&old) && !gone(&new) && !gone(&busy));
    asked.last().map(Place::ask);
    asked.push(hall.enter());
    assert!(gone(&new) && !gone(&busy));
    drop(asking);
    hall.counts(r#"mbcas_admission_connections_closed_total{reason="crowded"} 3"#);
}

#[test]
fn where_all_are_in_use_newcomers_are_refused() {
    let hall = hall();
    // No address has more than another.
    let enter = |number: usize| hall.enter_from([10, 0, 0, u8::try_from(number).unwrap()]);
    let places = (0..MOST - LAST).map(|number| enter(number).unwrap());
    let busy = places.map(|place| (place.ask(), place));
    let (_asking, places): (Vec<_>, Vec<_>) = busy.collect();
    assert!(enter(0).is_none());
    hall.counts(r#"mbcas_admission_connections_closed_total{reason="refused"} 1"#);
    assert!(!places.iter().any(gone));
}

#[test]
fn several_addresses_that_keep_all_places_busy_give_way_to_whoever_has_fewer() {
    for addresses in [2, 4, 20] {
        let hall = hall();
        let enter = |number: usize| {
            let place = hall.enter_from([10, 0, 1, u8::try_from(number % addresses).unwrap()]);
            place.map(|place| (place.ask(), place))
        };
        let mut many: Vec<_> = (0..).map_while(enter).collect();
        assert!(many.len() >= MOST - SPARE, "{addresses}");
        let mut others = Vec::new();
        for other in [SOMEBODY, SOMEBODY_ELSE, SOMEBODY_ELSE] {
            others.push(hall.enter_from(other).expect("a place"));
            let before = many.len();
            many.retain(|(_, place)| !gone(place));
            assert_eq!(before - many.len(), 1, "{addresses}");
        }
        // Those who were cut off come back, and are not let in at others' expense.
        for number in 0..addresses {
            enter(number);
        }
        assert!(!others.iter().any(gone), "although they are idle");
    }
}

#[test]
fn newcomers_who_have_not_asked_yet_go_before_who_asks_all_the_time() {
    let hall = hall();
    let regular = hall.enter_from(SOMEBODY).unwrap();
    (0..REGULAR).for_each(|_| review(&regular));
    // He comes once more, and has not asked there yet either.
    let new = hall.enter_from(SOMEBODY).unwrap();
    let address = |number: usize| [10, 0, 2, u8::try_from(number).unwrap()];
    let enter = |number| hall.enter_from(address(number)).unwrap();
    let places: Vec<_> = (0..MOST - SPARE - 2).map(enter).collect();
    let _late = hall.enter_from(SOMEBODY_ELSE).unwrap();
    assert!(!gone(&regular) && !gone(&new));
    assert_eq!(places.iter().filter(|place| gone(place)).count(), 1);
}

#[test]
fn a_few_more_of_an_address_that_asks_all_the_time_are_no_strangers() {
    let hall = hall();
    let regular = hall.enter();
    (1..REGULAR).for_each(|_| review(&regular));
    // What is no review does not count, nor does what is not read.
    drop(regular.ask().answered(0, true));
    regular.ask().answered(0, false).read();
    assert!(!regular.is_known() && !hall.enter().is_known());
    review(&regular);
    assert!(regular.is_known());
    let more = hall.fill(turns::FEW);
    let known = more.iter().filter(|place| place.is_known()).count();
    assert_eq!(known, turns::FEW - 1);
    assert!(!hall.enter_from(SOMEBODY_ELSE).unwrap().is_known());
    drop(more);
    for _ in 0..LATELY {
        hall.all.sweep();
    }
    assert!(hall.enter().is_known());
    hall.all.sweep();
    assert!(!hall.enter().is_known(), "it was long ago");
}

#[test]
fn two_addresses_do_not_send_each_other_away_in_turns() {
    let hall = hall();
    let mut many: Vec<_> = (0..MOST - SPARE)
        .map(|_| hall.enter())
        .map(|place| (place.ask(), place))
        .collect();
    let mut cuts = 0;
    for number in 0..1_000 {
        let from = [SOMEBODY, SOMEBODY_ELSE][number % 2];
        many.extend(hall.enter_from(from).map(|place| (place.ask(), place)));
        let before = many.len();
        many.retain(|(_, place)| !gone(place));
        cuts += before - many.len();
    }
    let theirs =
        |(_, place): &&(Asking, Place)| place.connection.peer == IpAddr::from(SOMEBODY_ELSE);
    let shares = many.iter().filter(theirs).count();
    assert!(cuts <= MOST / 2, "{cuts} were cut");
    assert!((MOST / 4..=MOST / 2).contains(&shares), "{shares}");
}

#[test]
fn whoever_was_asked_to_leave_is_cut_off_when_places_or_memory_run_out() {
    let hall = hall();
    let address = |number: usize| [10, 0, 2, u8::try_from(number).unwrap()];
    let mut places = Vec::new();
    for number in 0..MOST - SPARE {
        let place = hall.enter_from(address(number)).unwrap();
        drop(place.ask());
        places.push(place);
    }
    let mut late: Vec<_> = (0..SPARE - LAST)
        .map(|number| {
            let place = hall.enter_from([10, 0, 3, u8::try_from(number).unwrap()])?;
            drop(place.ask());
            Some(place)
        })
        .collect();
    let leaving: Vec<_> = places.iter().filter(|place| gone(place)).collect();
    assert_eq!(leaving.len(), SPARE - LAST);
    let cut = |places: &[&Place]| {
        places
            .iter()
            .filter(|p| p.connection.life.is_ended())
            .count()
    };
    assert_eq!(
        cut(&leaving),
        0,
        "they have their time while there are places"
    );
    // One of them asks at the last moment, as one may that has not heard yet.
    let asking = leaving[0].ask();
    late.push(hall.enter_from(SOMEBODY));
    assert!(late.iter().all(Option::is_some));
    assert_eq!(cut(&leaving), 1);
    assert!(
        !leaving[0].connection.life.is_ended(),
        "it is being answered"
    );
    let _held = asking.answered(MOST_HELD, true);
    assert!(hall.all.is_full.notified().now_or_never().is_some());
    hall.all.shed();
    assert!(leaving[0].connection.life.is_ended(), "it takes all memory");
}

#[test]
fn a_crowd_gives_way_to_others_also_where_it_is_busy() {
    let hall = hall();
    let asked_first = hall.enter_from(SOMEBODY_ELSE).unwrap();
    drop(asked_first.ask());
    hall.all.sweep();
    let crowd = hall.fill(MOST - SPARE - 1);
    let _asking: Vec<_> = crowd.iter().map(Place::ask).collect();
    let late = hall.enter_from(SOMEBODY_ELSE).unwrap();
    let cut: Vec<_> = crowd.iter().filter(|place| gone(place)).collect();
    assert_eq!(cut.len(), 1);
    assert!(cut[0].connection.life.is_ended());
    assert!(!gone(&asked_first), "although it is idle");

    // More of the crowd take nobody's place, and do not come in.
    assert!(hall.enter_from(SOMEBODY).is_none());
    assert!(!gone(&asked_first) && !gone(&late));
    assert_eq!(crowd.iter().filter(|place| gone(place)).count(), 1);
}

#[test]
fn who_makes_us_hold_most_has_to_go_before_memory_runs_out() {
    let hall = hall();
    let honest = hall.enter_from(SOMEBODY_ELSE).unwrap();
    let _honest = honest.ask().answered(MOST_HELD / 3, true);
    let greedy: Vec<_> = (0..4).map(|_| hall.enter()).collect();
    let mut held: Vec<_> = greedy
        .iter()
        .map(|g| g.ask().answered(MOST_HELD / 8, true))
        .collect();
    held.push(greedy[2].ask().answered(MOST_HELD / 8, true));
    assert!(!greedy.iter().any(gone) && !gone(&honest));
    hall.all.shed();
    assert!(!gone(&greedy[2]), "it is not too much yet");
    held.push(honest.ask().answered(MOST_HELD / 8, true));
    hall.all.shed();
    assert!(
        gone(&greedy[2]) && !gone(&honest),
        "of the address that has most"
    );
    held.push(honest.ask().answered(0, true));
    hall.all.shed();
    assert_eq!(
        greedy.iter().filter(|greedy| gone(greedy)).count(),
        1,
        "what it holds is about to be free"
    );
    assert!(greedy[2].connection.life.is_ended());
    hall.counts(r#"mbcas_admission_connections_closed_total{reason="greedy"} 1"#);
    drop(held);
    let _more = honest.ask().answered(MOST_HELD / 2, true);
    hall.all.shed();
    assert!(!gone(&honest), "what was read does not count");
}

#[test]
fn a_good_bye_is_as_long_as_what_is_under_way() {
    let hall = hall();
    let place = hall.enter();
    assert_eq!(place.patience(), Duration::ZERO);
    let asking = place.ask();
    assert_eq!(place.patience(), DRAIN);
    drop(asking);
    assert_eq!(place.patience(), FAREWELL);
}

#[test]
fn a_place_is_taken_until_the_connection_is_really_gone() {
    let hall = hall();
    let places = hall.fill(MOST - SPARE);
    for place in &places {
        drop(place.ask());
    }
    let late = hall.fill(SPARE - LAST);
    let told = places.iter().filter(|place| gone(place)).count();
    assert_eq!(told, SPARE - LAST);
    for place in &late {
        drop(place.ask());
    }
    assert!(
        hall.enter_from(SOMEBODY).is_none(),
        "they were told, and stay"
    );
    drop(late);
    drop(places);
    assert!(hall.enter_from(SOMEBODY).is_some());
}

#[test]
fn the_silent_go_soon_the_idle_late_and_the_busy_never() {
    let hall = hall();
    let (silent, idle, busy) = (hall.enter(), hall.enter(), hall.enter());
    drop(idle.ask());
    let asking = busy.ask();
    for _ in 0..PATIENCE {
        hall.all.sweep();
    }
    assert!(!gone(&silent));
    hall.all.sweep();
    assert!(gone(&silent) && !gone(&idle));
    for _ in PATIENCE + 1..IDLE {
        hall.all.sweep();
    }
    assert!(!gone(&idle));
    hall.all.sweep();
    assert!(gone(&idle) && !gone(&busy));
    drop(asking);
    hall.all.sweep();
    assert!(!gone(&busy), "it was busy until now");
    hall.counts(r#"mbcas_admission_connections_closed_total{reason="silent"} 1"#);
    hall.counts(r#"mbcas_admission_connections_closed_total{reason="idle"} 1"#);
}

#[test]
fn at_the_end_all_are_told() {
    let hall = hall();
    let (before, busy) = (hall.enter(), hall.enter());
    let _asking = busy.ask();
    hall.closing.cancel();
    assert!(gone(&before) && gone(&busy));
    assert!(gone(&hall.enter()), "also who comes after");
}
