use mbcas_api::budget_policy::BudgetBounds;
use mbcas_core::annotations::Mode;
use mbcas_core::{ContainerId, PodId};
use mbcas_market::{Allocation, Bid, Clearing, LimitReason, Reasoning};

use super::*;
use crate::permit::Restrained;

fn id(namespace: &str, name: &str) -> ContainerId {
    let pod = PodId {
        namespace: namespace.into(),
        name: name.into(),
        uid: name.into(),
    };
    ContainerId::new(pod, "app")
}

fn policy(total: u64, floors: Option<u64>) -> PolicyView {
    PolicyView {
        generation: Some(4),
        budget: BudgetBounds {
            total: Some(total),
            ..BudgetBounds::default()
        },
        floors: floors.map(MilliCpu::new),
        ..PolicyView::default()
    }
}

fn holds(participants: u32, budget: u64, floors: u64) -> Held {
    Held {
        asked: Asked {
            participants,
            budget: budget * 1_000,
            floors: MilliCpu::new(floors),
        },
        granted: MilliCpu::new(1_250),
        ..Held::default()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Type, status and reason of each condition.
fn conditions(status: &BudgetPolicyStatus) -> Vec<(&str, &str, &str)> {
    let conditions = status.conditions.iter();
    conditions
        .map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str()))
        .collect()
}

#[test]
fn a_namespace_is_told_what_it_uses_and_gets() {
    let status = policy(1_000, None).said(true, &holds(3, 900, 300), at(7));
    assert_eq!(
        (status.pods, status.budget_used, status.observed_generation),
        (Some(3), Some(900), Some(4))
    );
    assert_eq!(
        (status.cpu_held.as_deref(), status.price.as_deref()),
        (Some("1250m"), Some("0"))
    );
    assert_eq!(
        conditions(&status),
        [
            ("Overcommitted", "False", "WithinAllotment"),
            ("Active", "True", "Resizing")
        ]
    );
}

#[test]
fn what_is_too_much_is_said_with_figures() {
    let over = |total, floors| policy(total, floors).said(true, &holds(3, 900, 300), at(7));
    let budgets = over(600, Some(300));
    assert_eq!(
        conditions(&budgets)[0],
        ("Overcommitted", "True", "BudgetsExceeded")
    );
    assert!(
        budgets.conditions[0]
            .message
            .contains("budgets add up to 900 of 600")
    );
    let floors = over(900, Some(299));
    assert_eq!(
        conditions(&floors)[0],
        ("Overcommitted", "True", "FloorsExceeded")
    );
    assert!(
        floors.conditions[0]
            .message
            .contains("floors add up to 300m of 299m")
    );
    assert_eq!(
        conditions(&over(1, Some(1)))[0].2,
        "BudgetsAndFloorsExceeded"
    );
}

#[test]
fn a_namespace_is_told_why_its_pods_are_not_resized() {
    let told = |takes_part, held: &Held| {
        let status = policy(1_000, None).said(takes_part, held, at(7));
        let active = status.conditions[1].clone();
        (active.status, active.reason, active.message)
    };
    let is = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
    let (status, reason, _) = told(false, &Held::default());
    assert_eq!((status, reason), is("False", "NotLabelled"));
    let (status, reason, _) = told(true, &Held::default());
    assert_eq!((status, reason), is("False", "NoParticipants"));
    let some = Held {
        restrained: 1,
        by: Some(Restraint::Vpa),
        ..holds(3, 9, 9)
    };
    let (status, reason, message) = told(true, &some);
    assert_eq!((status, reason), is("True", "Restrained"));
    assert_eq!(
        message,
        "1 of 3 pods are not resized, the first cause being vpa"
    );
    let all = Held {
        restrained: 3,
        by: Some(Restraint::Frozen),
        ..holds(3, 9, 9)
    };
    assert_eq!(told(true, &all).0, "False");
}

#[test]
fn a_condition_keeps_its_time_until_it_turns() {
    let mut policy = policy(1_000, None);
    policy.status = policy.said(true, &holds(3, 900, 300), at(7));
    let later = policy.said(true, &holds(4, 950, 300), at(60));
    assert_eq!(later.conditions[0].last_transition_time.0, at(7));
    let turned = policy.said(true, &holds(4, 1_950, 300), at(90));
    assert_eq!(turned.conditions[0].last_transition_time.0, at(90));
    assert_eq!(turned.conditions[1].last_transition_time.0, at(7));
}

#[test]
fn events_are_written_at_once_and_figures_once_a_minute() {
    let policy = policy(1_000, None);
    let first = policy.said(true, &holds(3, 900, 300), at(7));
    let jitter = BudgetPolicyStatus {
        cpu_held: Some("1300m".into()),
        price: Some("12.5".into()),
        ..first.clone()
    };
    let event = policy.said(true, &holds(4, 900, 300), at(9));
    let secs = Duration::from_secs;
    assert!(is_due(&BudgetPolicyStatus::default(), None, &first));
    assert!(!is_due(&first, None, &first));
    assert!(!is_due(&first, Some((secs(59), &first)), &jitter));
    assert!(is_due(&first, Some((secs(60), &first)), &jitter));
    assert!(is_due(&first, Some((secs(1), &first)), &event));
    // What was tried in vain, or what the watch does not show yet, is tried again in a minute.
    let empty = BudgetPolicyStatus::default();
    assert!(!is_due(&empty, Some((secs(59), &first)), &first));
    assert!(is_due(&empty, Some((secs(60), &first)), &first));
    assert!(!is_due(&first, Some((secs(600), &first)), &first));
}

#[test]
fn grants_prices_and_restraints_are_summed_by_namespace() {
    let limit = MilliCpu::new(500);
    let allocation = |id: ContainerId| Allocation {
        id,
        bid: Bid::new(1),
        need: limit,
        grant: limit,
        reasoning: Reasoning::CapBinds { cap: limit },
        is_short: false,
        protected: limit,
        limit,
        limit_reason: LimitReason::Unbound,
    };
    let plan = |ids: Vec<ContainerId>, price| Plan {
        clearing: Clearing {
            allocations: ids.into_iter().map(allocation).collect(),
            price,
            ..Clearing::default()
        },
        ..Plan::default()
    };
    let plans = [
        plan(vec![id("rich", "c"), id("shop", "a")], Price::ZERO),
        plan(vec![id("shop", "b")], Price::UNBOUNDED),
    ];
    let asked = ["rich", "shop"].map(|name| (name.to_owned(), Asked::default()));
    let restrained = |by| Restrained {
        mode: Mode::Recommend,
        by,
        is_frozen: false,
        let_go: None,
    };
    let restraints = Restraints::from([
        (id("shop", "a"), restrained(Restraint::Canary)),
        (id("shop", "b"), restrained(Restraint::Pod)),
    ]);
    let held = held(&asked.into(), &plans, &restraints);
    let shop = held["shop"];
    assert_eq!((shop.granted.get(), shop.price), (1_000, Price::UNBOUNDED));
    assert_eq!((shop.restrained, shop.by), (2, Some(Restraint::Pod)));
    assert_eq!(
        (held["rich"].granted.get(), held["rich"].price),
        (500, Price::ZERO)
    );
    assert_eq!(per_core(Price::UNBOUNDED), "unbounded");
}
