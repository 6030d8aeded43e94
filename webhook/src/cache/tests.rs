use mbcas_core::units::{Budget, MilliCpu};
use serde_json::{Value, json};

use super::*;

fn meta(uid: u8, budget: Option<&str>, word: &str) -> ObjectMeta {
    let record = r#"{"version":1,"participant":"app","containers":{"app":{"request":"250m"},"log":{"request":"1"}}}"#;
    let mut annotations = json!({INJECTION_ANNOTATION: word, ORIGINAL_ANNOTATION: record});
    if let Some(budget) = budget {
        annotations["mbcas.budget"] = json!(budget);
    }
    let uid = format!("00000000-0000-0000-0000-{uid:012}");
    serde_json::from_value(
        json!({"namespace": "shop", "name": "p", "uid": uid, "annotations": annotations}),
    )
    .unwrap()
}

fn held(cache: &Cache) -> (u64, u64, u64) {
    let Held {
        pods,
        budget,
        floors,
    } = cache.namespace("shop", Instant::now()).held;
    (pods, budget, floors.get())
}

#[test]
fn pods_are_summed_changed_and_freed() {
    let cache = Cache::default();
    cache.pod_seen(&meta(1, Some("300"), "injected"), 1);
    cache.pod_seen(&meta(2, None, "host_network"), 1);
    assert_eq!(held(&cache), (2, 400, 500));
    cache.pod_seen(&meta(1, Some("600"), "injected"), 1);
    assert_eq!(held(&cache), (2, 700, 500));
    cache.pod_gone(&meta(1, Some("600"), "injected"));
    cache.pod_gone(&meta(1, Some("600"), "injected"));
    assert_eq!(held(&cache), (1, 100, 250));
}

#[test]
fn a_namespace_about_which_there_is_nothing_to_know_is_forgotten() {
    let cache = Cache::default();
    let known = |cache: &Cache| cache.with(|world| world.namespaces.len());
    cache.pod_seen(&meta(1, Some("300"), "injected"), 1);
    cache.pod_seen(&meta(2, Some("300"), "injected"), 1);
    cache.pod_gone(&meta(1, Some("300"), "injected"));
    assert_eq!(known(&cache), 1);
    cache.pods_listed(2);
    assert_eq!(known(&cache), 0);

    let range: LimitRange =
        serde_json::from_value(json!({"spec": {"limits": [{"type": "Pod"}]}})).unwrap();
    cache.pod_seen(&meta(1, None, "injected"), 2);
    for gone in [false, true] {
        cache.with(|world| LimitRange::set((!gone).then_some(&range), "shop", "r", world));
        assert_eq!(known(&cache), 1, "it has a pod");
    }
    cache.with(|world| LimitRange::set(Some(&range), "shop", "r", world));
    cache.pod_gone(&meta(1, None, "injected"));
    assert_eq!(known(&cache), 1, "it has a rule");
    cache.with(|world| {
        LimitRange::set(None, "shop", "r", world);
        world.tidy("shop");
    });
    assert_eq!(known(&cache), 0);

    cache.with(|world| LimitRange::set(Some(&range), "shop", "r", world));
    cache.with(|world| {
        LimitRange::clear(world);
        world.sweep();
    });
    assert_eq!(known(&cache), 0);
}

#[test]
fn pods_that_take_no_part_hold_nothing() {
    let cache = Cache::default();
    let mut out = meta(1, None, "injected");
    out.annotations
        .as_mut()
        .unwrap()
        .insert("mbcas.enabled".into(), "false".into());
    let mut malformed = meta(2, Some("lots"), "injected");
    for meta in [
        &mut out,
        &mut malformed,
        &mut meta(3, None, "guaranteed"),
        &mut meta(4, None, "nonsense"),
    ] {
        cache.pod_seen(meta, 1);
    }
    assert_eq!(held(&cache), (0, 0, 0));
    // Nor does one that took part and does no more.
    cache.pod_seen(&meta(1, None, "injected"), 1);
    cache.pod_seen(&out, 1);
    assert_eq!(held(&cache), (0, 0, 0));
}

#[test]
fn a_new_listing_forgets_what_it_does_not_show() {
    let cache = Cache::default();
    for uid in 1..=3 {
        cache.pod_seen(&meta(uid, None, "injected"), 1);
    }
    cache.pods_listed(1);
    assert_eq!(cache.pods(), 3);
    cache.pod_seen(&meta(2, None, "injected"), 2);
    cache.pods_listed(2);
    assert_eq!((cache.pods(), held(&cache)), (1, (1, 100, 250)));
}

fn with_total() -> Cache {
    let cache = Cache::default();
    let policy: BudgetPolicy = serde_json::from_value(json!({
        "apiVersion": "mbcas.dev/v1alpha1", "kind": "BudgetPolicy", "metadata": {"name": "default"},
        "spec": {"budget": {"total": 100_000}},
    }))
    .unwrap();
    cache.with(|world| BudgetPolicy::set(Some(&policy), "shop", "default", world));
    cache
}

#[test]
fn who_asks_about_namespaces_without_totals_costs_no_memory() {
    let cache = Cache::default();
    let holding = Holding {
        budget: Budget::DEFAULT,
        floor: MilliCpu::new(250),
    };
    cache.admitted("invented", holding, Instant::now());
    assert_eq!(cache.with(|world| world.namespaces.len()), 0);
    let cache = with_total();
    for _ in 0..=MOST_PENDING {
        cache.admitted("shop", holding, Instant::now());
    }
    let held = cache.namespace("shop", Instant::now()).held;
    assert_eq!(held.pods, MOST_PENDING as u64);
}

#[test]
fn an_admitted_pod_counts_until_it_is_seen_or_forgotten() {
    let cache = with_total();
    let now = Instant::now();
    let holding = Holding {
        budget: Budget::new(300).unwrap(),
        floor: MilliCpu::new(250),
    };
    cache.admitted("shop", holding, now);
    cache.admitted("shop", holding, now);
    assert_eq!(
        cache.namespace("shop", now).held,
        Held {
            pods: 2,
            budget: 600,
            floors: MilliCpu::new(500)
        }
    );
    // It appears: it is one pod, not two. Its later changes free nobody else's place.
    cache.pod_seen(&meta(1, Some("300"), "injected"), 1);
    cache.pod_seen(&meta(1, Some("300"), "injected"), 1);
    assert_eq!(cache.namespace("shop", now).held.budget, 600);
    assert_eq!(cache.namespace("shop", now + PENDING).held.budget, 300);
    assert_eq!(cache.namespace("elsewhere", now).held, Held::default());
}

#[test]
fn each_admission_is_forgotten_in_its_own_time_and_only_once() {
    let (cache, now) = (with_total(), Instant::now());
    let take = |budget: u32| Holding {
        budget: Budget::new(budget.into()).unwrap(),
        floor: MilliCpu::new(250),
    };
    for (after, budget) in [(0, 300), (1, 300), (2, 50), (3, 300)] {
        cache.admitted("shop", take(budget), now + Duration::from_secs(after));
    }
    cache.pod_seen(&meta(1, Some("300"), "injected"), 1);
    cache.pod_seen(&meta(2, Some("700"), "injected"), 1);
    let budget = |after: u64| {
        // One millisecond before the admission after so many seconds is forgotten.
        let at = now + Duration::from_millis(9_999 + 1_000 * after);
        cache.namespace("shop", at).held.budget
    };
    assert_eq!(budget(0), 1_000 + 300 + 50 + 300);
    assert_eq!(budget(1), 1_000 + 300 + 50 + 300, "the one that was seen");
    assert_eq!(budget(2), 1_000 + 50 + 300);
    assert_eq!(budget(3), 1_000 + 300);
    assert_eq!(budget(4), 1_000);
    cache.admitted("shop", take(50), now + PENDING * 2);
    assert_eq!(
        cache.namespace("shop", now + PENDING * 2).held.budget,
        1_050
    );
}

#[test]
fn rules_come_and_go() {
    let cache = Cache::default();
    let rules = |cache: &Cache| cache.namespace("shop", Instant::now()).rules;
    let policy = |total: u64| {
        serde_json::from_value::<BudgetPolicy>(json!({
            "apiVersion": "mbcas.dev/v1alpha1", "kind": "BudgetPolicy", "metadata": {"name": "default"},
            "spec": {"budget": {"total": total}},
        }))
        .unwrap()
    };
    let range: LimitRange = serde_json::from_value(
        json!({"spec": {"limits": [{"type": "Pod"}, {"type": "Container"}]}}),
    )
    .unwrap();
    let quota: ResourceQuota =
        serde_json::from_value(json!({"spec": {"hard": {"limits.cpu": "4"}}})).unwrap();
    cache.with(|world| BudgetPolicy::set(Some(&policy(7)), "shop", "default", world));
    cache.with(|world| BudgetPolicy::set(Some(&policy(8)), "shop", "another", world));
    cache.with(|world| LimitRange::set(Some(&range), "shop", "r", world));
    cache.with(|world| ResourceQuota::set(Some(&quota), "shop", "q", world));
    let now = rules(&cache);
    assert_eq!(
        (
            now.policy.budget.total,
            now.limit_ranges.len(),
            now.quotas.len()
        ),
        (Some(7), 2, 1)
    );
    cache.with(|world| LimitRange::set(None, "shop", "r", world));
    assert_eq!(
        (rules(&cache).limit_ranges.len(), rules(&cache).quotas.len()),
        (0, 1)
    );
    cache.with(ResourceQuota::clear);
    cache.with(BudgetPolicy::clear);
    assert_eq!(*rules(&cache), Rules::default());
}

#[test]
fn a_floor_is_what_the_pod_says_and_at_least_what_its_participant_requested() {
    let of = |change: fn(&mut Value)| {
        let mut pod = serde_json::to_value(meta(1, None, "injected")).unwrap();
        change(&mut pod["annotations"]);
        holding(&serde_json::from_value(pod).unwrap()).map(|holding| holding.floor.get())
    };
    assert_eq!(of(|_| ()), Some(250));
    assert_eq!(of(|a| a["mbcas.minCPU"] = json!("70m")), Some(250));
    assert_eq!(of(|a| a["mbcas.minCPU"] = json!("300m")), Some(300));
    assert_eq!(
        of(|a| a[ORIGINAL_ANNOTATION] =
            json!(r#"{"version":1,"participant":"app","containers":{"app":{"limit":"2"}}}"#)),
        Some(2_000)
    );
    assert_eq!(of(|a| a[ORIGINAL_ANNOTATION] = json!("garbage")), None);
}
