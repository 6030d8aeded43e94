use prometheus::{Registry, TextEncoder};

use super::*;

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
        self.all.enter().expect("a place")
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
    let places = hall.fill(MOST - SPARE);
    let mut asking: Vec<_> = places.iter().map(Place::ask).collect();
    let mut late = Vec::new();
    for _ in 0..SPARE {
        late.push(hall.enter());
        asking.extend(late.last().map(Place::ask));
    }
    assert!(hall.all.enter().is_none());
    hall.counts(r#"mbcas_admission_connections_closed_total{reason="refused"} 1"#);
    assert!(!places.iter().chain(&late).any(gone));
    drop(late.pop());
    assert!(hall.all.enter().is_some());
}

#[test]
fn a_place_is_taken_until_the_connection_is_really_gone() {
    let hall = hall();
    let places = hall.fill(MOST - SPARE);
    let late = hall.fill(SPARE);
    assert_eq!(places.iter().filter(|place| gone(place)).count(), SPARE);
    assert!(hall.all.enter().is_none(), "they were told, and stay");
    drop(late);
    drop(places);
    assert!(hall.all.enter().is_some());
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
