use mbcas_core::PodId;
use mbcas_core::annotations::Mode;
use mbcas_core::units::{Budget, Demand};
use mbcas_market::{Observed, Usage};

use super::*;

fn node(usage: u64, limit: Option<u64>, until: u64) -> Vec<NodeSnapshot> {
    let pod = PodId {
        namespace: "shop".into(),
        name: "web".into(),
        uid: "u".into(),
    };
    let id = ContainerId::new(pod, "app");
    let observed = Observed {
        request: MilliCpu::new(100),
        limit: limit.map(MilliCpu::new),
        min_cpu: None,
        max_cpu: None,
        budget: Budget::DEFAULT.into(),
        is_scaled: false,
        demand: Demand::NEUTRAL,
        measured: None,
        usage: Some(Usage {
            cpu: MilliCpu::new(usage),
            until: Duration::from_secs(until),
        }),
        starting: false,
        mode: Mode::Auto,
    };
    vec![NodeSnapshot {
        node: "n1".into(),
        participants: BTreeMap::from([(id, observed)]),
        ..NodeSnapshot::default()
    }]
}

/// Whether the node is known to enforce nothing after these windows of usage, limit and end.
fn after(windows: &[(u64, Option<u64>, u64)]) -> bool {
    let mut unenforced = Unenforced::default();
    for (usage, limit, until) in windows {
        unenforced.observe(&node(*usage, *limit, *until), Duration::from_secs(*until));
    }
    unenforced.is_on("n1")
}

#[test]
fn a_container_that_stays_a_quarter_above_its_limit_gives_its_node_away() {
    let above = [
        (900, Some(500), 15),
        (900, Some(500), 30),
        (900, Some(500), 45),
    ];
    assert!(!after(&above[..2]));
    assert!(after(&above));
}

#[test]
fn what_can_be_otherwise_is_no_evidence() {
    // A quarter is what counters read early or late may show.
    assert!(!after(&[
        (620, Some(500), 15),
        (620, Some(500), 30),
        (620, Some(500), 45)
    ]));
    // The same window seen again.
    assert!(!after(&[
        (900, Some(500), 15),
        (900, Some(500), 15),
        (900, Some(500), 15),
        (900, Some(500), 30)
    ]));
    // A window in between in which it keeps to its limit.
    assert!(!after(&[
        (900, Some(500), 15),
        (900, Some(500), 30),
        (500, Some(500), 45),
        (900, Some(500), 60)
    ]));
    // A limit that was lowered in each window: its use was allowed before.
    assert!(!after(&[
        (1_900, Some(1_500), 15),
        (1_500, Some(1_000), 30),
        (1_000, Some(700), 45),
        (800, Some(500), 60)
    ]));
    // No limit.
    assert!(!after(&[(900, None, 15), (900, None, 30), (900, None, 45)]));
}

#[test]
fn a_node_is_looked_at_anew_in_time() {
    let mut unenforced = Unenforced::default();
    for until in [15, 30, 45] {
        unenforced.observe(&node(900, Some(500), until), Duration::from_secs(until));
    }
    assert_eq!(unenforced.nodes().collect::<Vec<_>>(), ["n1"]);
    unenforced.observe(&node(100, Some(500), 60), Duration::from_hours(1));
    assert!(unenforced.is_on("n1"));
    unenforced.observe(&node(100, Some(500), 75), Duration::from_secs(3_645));
    assert!(!unenforced.is_on("n1"));
}
