use super::*;
use crate::Authority;
use crate::schedule::{AUTHORITY_LIFETIME, LEAF_LIFETIME};

const NAME: &str = "mbcas-webhook.mbcas-system.svc";

fn bundle(authorities: &[&Authority]) -> Bundle {
    let text: String = authorities.iter().map(|a| a.certificate_pem()).collect();
    Bundle::read(&text)
}

#[test]
fn a_bundle_vouches_for_leaves_of_each_of_its_authorities_and_of_no_other() {
    let now = SystemTime::now();
    let [old, new, foreign] = [(); 3].map(|()| Authority::generate(now).unwrap());
    let both = bundle(&[&old, &new]);
    assert_eq!(both.len(), 2);
    for authority in [&old, &new] {
        let leaf = authority.issue(NAME, now, LEAF_LIFETIME).unwrap();
        both.verify(leaf.certificate(), NAME, now).unwrap();
    }
    let leaf = foreign.issue(NAME, now, LEAF_LIFETIME).unwrap();
    assert!(matches!(
        both.verify(leaf.certificate(), NAME, now),
        Err(TrustError::Refused(_))
    ));
}

#[test]
fn another_name_or_another_time_is_refused() {
    let now = SystemTime::now();
    let authority = Authority::generate(now).unwrap();
    let leaf = authority.issue(NAME, now, LEAF_LIFETIME).unwrap();
    let check = |name: &str, at| bundle(&[&authority]).verify(leaf.certificate(), name, at);
    check(NAME, now).unwrap();
    assert!(check("mbcas-webhook.default.svc", now).is_err());
    assert!(check("mbcas-webhook.mbcas-system.svc.cluster.local", now).is_err());
    assert!(check(NAME, now + LEAF_LIFETIME + Duration::from_secs(1)).is_err());
    assert!(check(NAME, now - Duration::from_mins(6)).is_err());
}

#[test]
fn an_authority_that_ended_or_has_not_begun_vouches_for_nothing() {
    let now = SystemTime::now();
    let [ended, to_come] = [now - AUTHORITY_LIFETIME, now + AUTHORITY_LIFETIME]
        .map(|at| Authority::generate(at - Duration::from_hours(1)).unwrap());
    for authority in [ended, to_come] {
        let leaf = authority.issue(NAME, now, LEAF_LIFETIME).unwrap();
        let verdict = bundle(&[&authority]).verify(leaf.certificate(), NAME, now);
        assert!(matches!(verdict, Err(TrustError::NoAuthority)));
    }
}

#[test]
fn garbage_vouches_for_nothing() {
    let now = SystemTime::now();
    let leaf = Authority::generate(now)
        .unwrap()
        .issue(NAME, now, LEAF_LIFETIME)
        .unwrap();
    for text in [
        "",
        "Cg==",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let verdict = Bundle::read(text).verify(leaf.certificate(), NAME, now);
        assert!(
            matches!(verdict, Err(TrustError::NoAuthority)),
            "{text}: {verdict:?}"
        );
    }
}

#[test]
fn order_repetition_and_what_stands_between_mean_nothing() {
    let now = SystemTime::now();
    let [one, two] = [(); 2].map(|()| Authority::generate(now).unwrap());
    let both = bundle(&[&one, &two]);
    assert_eq!(both, bundle(&[&two, &one, &two]));
    assert_eq!(both, Bundle::read(&both.pem()));
    let text = format!("# ours\n{}rubbish\n{BEGIN}", both.pem());
    assert_eq!(both, Bundle::read(&text));
    assert!(both.contains(&bundle(&[&one])) && !bundle(&[&one]).contains(&both));
}
