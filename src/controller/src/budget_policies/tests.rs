use serde_json::{Value, json};

use super::*;

fn policy(spec: &Value) -> PolicyView {
    let policy = json!({"apiVersion": "mbcas.dev/v1alpha1", "kind": "BudgetPolicy",
                        "metadata": {"name": "default", "namespace": "shop", "generation": 3}, "spec": spec});
    PolicyView::of(&serde_json::from_value(policy).unwrap())
}

fn budget(value: u64) -> Budget {
    Budget::new(value).unwrap()
}

#[test]
fn a_policy_that_says_nothing_changes_nothing() {
    let silent = policy(&json!({}));
    assert_eq!(silent.budget(Some(budget(700))).get(), 700);
    assert_eq!(silent.budget(None), Budget::DEFAULT);
    assert_eq!(
        (silent.floor(Some(MilliCpu::new(50))), silent.floor(None)),
        (Some(MilliCpu::new(50)), None)
    );
    let default = MilliCpu::new(64_000);
    assert_eq!(
        (
            silent.cap(Some(MilliCpu::new(300)), default),
            silent.cap(None, default)
        ),
        (MilliCpu::new(300), default)
    );
    assert_eq!(silent.allotment(), Allotment::default());
}

#[test]
fn budgets_are_what_admission_would_write() {
    let bounds = policy(&json!({"budget": {"default": 50, "min": 10, "max": 600, "total": 1000}}));
    let given = |named| bounds.budget(named).get();
    assert_eq!(given(None), 50);
    assert_eq!(
        [5, 50, 601].map(|named| given(Some(budget(named)))),
        [10, 50, 600]
    );
    // No default: the usual one, as far as it fits.
    assert_eq!(
        policy(&json!({"budget": {"total": 30}})).budget(None).get(),
        30
    );
    assert_eq!(policy(&json!({"budget": {"max": 7}})).budget(None).get(), 7);
    assert_eq!(
        policy(&json!({"budget": {"min": 200}})).budget(None).get(),
        200
    );
}

#[test]
fn floors_and_caps_are_held_to_the_bounds_of_one_pod() {
    let bounds = policy(&json!({"cpu": {"minPerPod": "50m", "maxPerPod": "2", "floorTotal": "3"}}));
    assert_eq!(
        [
            None,
            Some(MilliCpu::new(20)),
            Some(MilliCpu::new(700)),
            Some(MilliCpu::new(9_000))
        ]
        .map(|named| bounds.floor(named)),
        [
            Some(MilliCpu::new(50)),
            Some(MilliCpu::new(50)),
            Some(MilliCpu::new(700)),
            Some(MilliCpu::new(2_000))
        ]
    );
    let default = MilliCpu::new(64_000);
    assert_eq!(
        [None, Some(MilliCpu::new(300)), Some(MilliCpu::new(9_000))]
            .map(|named| bounds.cap(named, default).get()),
        [2_000, 300, 2_000]
    );
    assert_eq!(bounds.allotment().floors, Some(MilliCpu::new(3_000)));
}

#[test]
fn only_the_policy_of_the_right_name_counts() {
    let policy = |name: &str| -> BudgetPolicy {
        let policy = json!({"apiVersion": "mbcas.dev/v1alpha1", "kind": "BudgetPolicy",
                            "metadata": {"name": name, "namespace": "shop"}, "spec": {"mode": "observe"}});
        serde_json::from_value(policy).unwrap()
    };
    let mut view = View::default();
    policy("other").keep(&mut view);
    assert!(view.policies.is_empty());
    policy("default").keep(&mut view);
    assert_eq!(view.policies["shop"].mode, Some(Mode::Observe));
    BudgetPolicy::forget(&policy("other").metadata, &mut view);
    assert_eq!(view.policies.len(), 1);
    BudgetPolicy::forget(&policy("default").metadata, &mut view);
    assert!(view.policies.is_empty());
}
