use std::collections::BTreeMap;

use super::super::record::Granted;
use super::*;
use crate::load::Report;

fn service(budget: u64, used: u64) -> Observed {
    let load = Report {
        name: "s".into(),
        rate: 50.0,
        seconds: 60.0,
        sent: 3_000,
        ok: 2_900,
        timeouts: 100,
        errors: 0,
        dropped: 0,
        p50_ms: Some(12.0),
        p95_ms: Some(90.4),
        p99_ms: None,
        max_ms: None,
        lag_p99_ms: None,
        slo_ms: 100,
        violations: 150,
        violation_share: 0.05,
    };
    Observed {
        budget,
        floor: 100,
        demand: 1.0,
        limit: used,
        used,
        load,
        app_restarts: 0,
        agent_restarts: 1,
    }
}

fn phase(used: [u64; 3]) -> Phase {
    let services = [
        ("a", 600, used[0]),
        ("b", 300, used[1]),
        ("c", 100, used[2]),
    ];
    let services = services.map(|(name, budget, used)| (name.to_owned(), service(budget, used)));
    Phase {
        seconds: 75.0,
        writes: 0,
        services: services.into(),
    }
}

#[test]
fn shares_by_budget_hold_and_others_do_not() {
    assert!(shares(&phase([700, 400, 200])).holds);
    assert!(shares(&phase([730, 395, 195])).holds);
    let equal = shares(&phase([433, 433, 433]));
    assert!(!equal.holds, "{}", equal.figures);
    assert!(
        !shares(&phase([100, 100, 100])).holds,
        "nothing above the floors proves nothing"
    );
    assert!(
        !shares(&Phase {
            seconds: 59.0,
            ..phase([700, 400, 200])
        })
        .holds
    );
    assert!(
        !shares(&Phase {
            writes: 1,
            ..phase([700, 400, 200])
        })
        .holds
    );
}

#[test]
fn a_restart_of_an_app_fails_and_one_of_an_agent_is_reported() {
    let calm = phase([700, 400, 200]);
    assert_eq!(
        restarts(&[&calm]).figures,
        "restarts of app containers: 0; of agents: 1"
    );
    assert!(restarts(&[&calm]).holds);
    let mut shaken = calm.clone();
    shaken.services.get_mut("c").unwrap().app_restarts = 1;
    assert!(!restarts(&[&calm, &shaken]).holds);
}

#[test]
fn neighbours_may_cost_their_weight_and_no_more() {
    let grants = |each: u64, noise_used| Grants {
        capacity: 3 * each,
        allocatable: 1_500,
        noise_used,
        services: BTreeMap::from(["a", "b", "c"].map(|n| {
            (
                n.to_owned(),
                Granted {
                    budget: 1,
                    floor: 100,
                    grant: each,
                },
            )
        })),
    };
    assert!(neighbours(&grants(420, 0), &grants(350, 1_100)).holds);
    assert!(!neighbours(&grants(420, 0), &grants(280, 1_100)).holds);
    assert!(
        !neighbours(&grants(420, 0), &grants(350, 0)).holds,
        "neighbours that burn nothing prove nothing"
    );
}

#[test]
fn only_a_helpful_refusal_counts() {
    let words = "admission webhook denied the request: annotation mbcas.budget=\"lots\" is refused: \
                 it must be a whole number from 1 to 1000000; for example \"300\"";
    assert!(refused(words).holds);
    assert!(!refused("pod/lots created").holds);
    assert!(!refused("denied").holds);
}

#[test]
fn the_table_shows_both_modes_side_by_side() {
    let text = table(&phase([430, 430, 430]), &phase([700, 400, 200])).to_string();
    let of_a: Vec<_> = text
        .lines()
        .filter(|line| line.contains("430m") || line.contains("700m"))
        .collect();
    assert!(
        of_a[0].contains("observe") && of_a[1].contains("auto"),
        "{text}"
    );
}
