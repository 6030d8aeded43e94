use super::*;

#[test]
fn rates_are_within_the_first_grant_and_above_the_others() {
    let service = |budget, grant| Granted {
        budget,
        floor: 100,
        grant,
    };
    let services = [
        ("a", service(600, 560)),
        ("b", service(300, 330)),
        ("c", service(100, 180)),
    ];
    let services = services
        .map(|(name, granted)| (name.to_owned(), granted))
        .into();
    let rates = Rates::of(&Grants {
        capacity: 1_070,
        services,
        ..Grants::default()
    })
    .unwrap();
    assert!((rates.within["a"] - 42.0).abs() < 1e-9);
    assert!((rates.saturated["a"] - 84.0).abs() < 1e-9);
    // What it gets under equal weights is more than its grant; it must be saturated then too.
    assert!((rates.saturated["c"] - 53.5).abs() < 1e-9);
    assert!((rates.within["b"] - rates.saturated["b"]).abs() < 1e-9);
    assert!(Rates::of(&Grants::default()).is_err());
}

#[test]
fn usage_comes_from_two_counters() {
    assert_eq!(used(Some(&(10.0, 0)), Some(&(40.0, 60_000))), 500);
    assert_eq!(used(None, Some(&(40.0, 60_000))), 0);
    assert_eq!(used(Some(&(10.0, 5)), Some(&(10.0, 5))), 0);
}
