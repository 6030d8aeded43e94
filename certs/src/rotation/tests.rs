use super::*;
use crate::schedule::{AUTHORITY_LIFETIME, LEAF_LIFETIME};

const DAY: Duration = Duration::from_hours(24);
const START: Duration = Duration::from_hours(500_000);

/// A Secret's data in the hands of a replica.
struct Secret {
    data: Data,
    now: SystemTime,
}

impl Secret {
    fn new() -> Self {
        let (data, now) = (Data::new(), SystemTime::UNIX_EPOCH + START);
        let mut secret = Self { data, now };
        assert_eq!(secret.look(None), Some(Event::Created));
        secret
    }

    fn known<'a>(&self, settled: Option<&'a Bundle>, asked: bool) -> Known<'a> {
        let now = self.now;
        Known {
            now,
            settled,
            asked,
        }
    }

    fn take(&mut self, settled: Option<&Bundle>, asked: bool) -> Option<Event> {
        let known = self.known(settled, asked);
        let (held, step) = Authorities::advance(&self.data, known).unwrap();
        held.write(&mut self.data);
        step.map(|(event, _)| event)
    }

    fn look(&mut self, settled: Option<&Bundle>) -> Option<Event> {
        self.take(settled, false)
    }

    fn held(&self) -> Authorities {
        Authorities::read(&self.data).unwrap()
    }

    fn bundle(&self) -> Bundle {
        self.held().bundle(self.now)
    }

    fn signs(&self) -> String {
        self.held().signing().certificate_pem().to_owned()
    }
}

#[test]
fn what_is_written_is_read_again() {
    let mut secret = Secret::new();
    for _ in 0..3 {
        let (before, bundle) = (secret.data.clone(), secret.bundle());
        secret.held().write(&mut secret.data);
        assert_eq!(secret.data, before);
        secret.take(Some(&bundle), true);
    }
    assert_eq!(secret.data.keys().count(), 5);
    assert_eq!(text(&secret.data, SINCE_KEY), "2027-01-15T08:00:00Z");
}

#[test]
fn an_authority_is_announced_trusted_switched_to_and_its_forerunner_retired() {
    let mut secret = Secret::new();
    let (first, alone) = (secret.signs(), secret.bundle());
    secret.now += AUTHORITY_LIFETIME / 2;
    assert_eq!(secret.look(Some(&alone)), None, "not due yet");
    secret.now += AUTHORITY_LIFETIME / 5;
    assert_eq!(secret.look(Some(&alone)), Some(Event::Announced));
    let both = secret.bundle();
    assert_eq!((both.len(), secret.signs()), (2, first.clone()));
    for settled in [None, Some(&alone)] {
        secret.now += DAY;
        assert_eq!(secret.look(settled), None, "not everybody trusts it yet");
    }
    assert_eq!(secret.look(Some(&both)), Some(Event::Switched));
    assert_ne!(secret.signs(), first);
    assert_eq!(secret.bundle(), both, "those who trust see no difference");
    secret.now += LEAF_LIFETIME;
    assert_eq!(secret.look(Some(&both)), None, "a leaf may still be in use");
    secret.now += BACKDATED + Duration::from_secs(1);
    assert_eq!(secret.look(Some(&both)), Some(Event::Retired));
    assert_eq!(secret.bundle(), Bundle::read(&secret.signs()));
    assert_eq!(secret.look(None), None);
}

#[test]
fn a_rotation_can_be_asked_for_and_asked_for_again_before_the_last_is_over() {
    let mut secret = Secret::new();
    for round in 1..=20 {
        assert_eq!(secret.take(None, true), Some(Event::Announced));
        assert_eq!(secret.take(None, true), None, "one at a time");
        let bundle = secret.bundle();
        assert_eq!(secret.look(Some(&bundle)), Some(Event::Switched));
        assert_eq!(
            secret.bundle().len(),
            1 + round.min(MOST_OLD),
            "and no end of old ones"
        );
        secret.now += DAY / 2;
    }
    let newest = secret.signs();
    secret.now += TRUSTED_AFTER;
    assert_eq!(secret.look(None), Some(Event::Retired));
    assert_eq!(secret.bundle(), Bundle::read(&newest));
}

#[test]
fn an_authority_that_cannot_sign_is_replaced_at_once_and_its_leaves_are_trusted_on() {
    let mut secret = Secret::new();
    let old = secret.bundle();
    secret
        .data
        .insert(PRIVATE_KEY.to_owned(), ByteString(b"lost".to_vec()));
    assert_eq!(secret.look(None), Some(Event::Replaced));
    assert_eq!(secret.bundle().len(), 2);
    assert!(secret.bundle().contains(&old));
}

#[test]
fn an_authority_that_ended_is_followed_by_the_next_one_and_without_one_by_a_new_one() {
    for announced in [true, false] {
        let mut secret = Secret::new();
        let first = secret.signs();
        if announced {
            secret.now += AUTHORITY_LIFETIME / 4 * 3;
            assert_eq!(secret.look(None), Some(Event::Announced));
            secret.now += AUTHORITY_LIFETIME / 3;
            assert_eq!(secret.look(None), Some(Event::Switched));
        } else {
            secret.now += AUTHORITY_LIFETIME + DAY;
            assert_eq!(secret.look(None), Some(Event::Replaced));
        }
        assert!(
            !secret.bundle().contains(&Bundle::read(&first)),
            "it has ended"
        );
        assert!(secret.held().signing().validity().holds(secret.now));
    }
}

#[test]
fn after_a_leap_back_before_it_began_an_authority_is_replaced_and_trusted_on() {
    let mut secret = Secret::new();
    let old = secret.bundle();
    secret.now -= DAY;
    assert_eq!(secret.look(None), Some(Event::Replaced));
    assert!(secret.held().signing().validity().holds(secret.now));
    assert!(
        secret.bundle().contains(&old),
        "others' clocks may be right"
    );
    secret.now += DAY;
    assert_eq!(secret.look(None), None);
}

#[test]
fn a_next_one_of_another_time_does_not_sign_and_one_that_ended_is_made_anew() {
    let mut secret = Secret::new();
    secret.now += AUTHORITY_LIFETIME / 3 * 2 + DAY;
    assert_eq!(secret.look(None), Some(Event::Announced));
    let both = secret.bundle();
    secret.now -= DAY;
    assert_eq!(secret.look(Some(&both)), None, "it is not valid yet");
    secret.now += DAY;
    assert_eq!(secret.look(Some(&both)), Some(Event::Switched));

    let mut held = secret.held();
    let ended = secret.now - AUTHORITY_LIFETIME - DAY;
    held.next = Some(Authority::generate(ended).unwrap());
    held.write(&mut secret.data);
    assert_eq!(secret.look(Some(&both)), None);
    assert_eq!(secret.take(None, true), Some(Event::Announced));
    let next = secret.held().next.unwrap();
    assert!(next.validity().holds(secret.now));
}

#[test]
fn the_older_form_of_the_secret_is_understood() {
    // Signing first and former ones behind it, with nothing about when.
    let mut secret = Secret::new();
    let bundle = secret.bundle();
    secret.take(None, true);
    let both = secret.bundle();
    secret.take(Some(&both), false);
    secret.data.remove(SINCE_KEY);
    assert_eq!(secret.look(None), None);
    assert!(secret.bundle().contains(&bundle));
    secret.now += TRUSTED_AFTER + Duration::from_secs(1);
    assert_eq!(secret.look(None), Some(Event::Retired));
}
