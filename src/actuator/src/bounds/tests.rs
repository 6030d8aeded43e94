use proptest::option::of as maybe;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn m(millicores: u64) -> MilliCpu {
    MilliCpu::new(millicores)
}

/// 100m to 200m, alone in its pod.
fn plain() -> Amounts {
    Amounts {
        request: m(100),
        limit: Some(m(200)),
        ..Amounts::default()
    }
}

fn container(item: serde_json::Value) -> Bounds {
    ranged("Container", item)
}

fn ranged(kind: &str, mut item: serde_json::Value) -> Bounds {
    item["type"] = json!(kind);
    let item = serde_json::from_value(item).unwrap();
    Bounds {
        ranges: vec![Range::of(&item).unwrap()],
        ..Bounds::default()
    }
}

fn quota(hard: serde_json::Value, used: serde_json::Value) -> Option<Quota> {
    let quota = json!({"spec": hard, "status": {"used": used}});
    Quota::of(&serde_json::from_value(quota).unwrap())
}

fn limits(
    wanted: u64,
    amounts: &Amounts,
    bounds: &Bounds,
) -> Result<(u64, Option<&'static str>), &'static str> {
    let clipped = clip(ResizePolicy::Limits, m(wanted), amounts, bounds);
    clipped
        .map(|clipped| (clipped.to.get(), clipped.by.map(Constraint::word)))
        .map_err(|unfit| unfit.by.word())
}

#[test]
fn without_bounds_only_the_request_binds() {
    let free = Bounds::default();
    assert_eq!(limits(300, &plain(), &free), Ok((300, None)));
    assert_eq!(limits(205, &plain(), &free), Ok((205, None)));
    assert_eq!(limits(50, &plain(), &free), Ok((100, Some("request"))));
}

#[test]
fn a_limit_that_would_make_the_pod_guaranteed_keeps_a_quantum_away() {
    let apart = Amounts {
        apart: true,
        ..plain()
    };
    assert_eq!(
        limits(100, &apart, &Bounds::default()),
        Ok((110, Some("qos_class")))
    );
    let odd = Amounts {
        request: m(105),
        ..apart
    };
    assert_eq!(
        limits(100, &odd, &Bounds::default()),
        Ok((120, Some("qos_class")))
    );
    let requests = clip(ResizePolicy::Requests, m(200), &apart, &Bounds::default());
    assert_eq!(
        requests,
        Ok(Clipped {
            to: m(190),
            by: Some(Constraint::QosClass)
        })
    );
}

#[test]
fn a_limit_range_has_a_minimum_a_maximum_and_a_ratio() {
    let range = container(json!({"min": {"cpu": "150m"}, "max": {"cpu": "1"}}));
    // The request of 100m breaks the minimum, and does not change: nothing can be written.
    assert_eq!(limits(300, &plain(), &range), Err("limit_range_min"));
    let range = container(json!({"min": {"cpu": "50m"}, "max": {"cpu": "255m"}}));
    assert_eq!(
        limits(300, &plain(), &range),
        Ok((250, Some("limit_range_max")))
    );
    let range = container(json!({"maxLimitRequestRatio": {"cpu": "2.55"}}));
    assert_eq!(
        limits(300, &plain(), &range),
        Ok((250, Some("limit_range_ratio")))
    );
    let bare = Amounts {
        request: m(0),
        ..plain()
    };
    assert_eq!(limits(300, &bare, &range), Err("limit_range_ratio"));
}

#[test]
fn a_limit_range_of_pods_counts_the_others_too() {
    let beside = Amounts {
        other_requests: m(50),
        other_limits: m(300),
        ..plain()
    };
    let range = ranged("Pod", json!({"max": {"cpu": "700m"}}));
    assert_eq!(
        limits(900, &beside, &range),
        Ok((400, Some("limit_range_max")))
    );
    let range = ranged("Pod", json!({"maxLimitRequestRatio": {"cpu": "4"}}));
    assert_eq!(
        limits(900, &beside, &range),
        Ok((300, Some("limit_range_ratio")))
    );
    let range = ranged("Pod", json!({"max": {"cpu": "200m"}}));
    assert_eq!(limits(900, &beside, &range), Err("limit_range_max"));
}

#[test]
fn a_quota_counts_growth_and_lets_every_shrink_pass() {
    let left = |left: u64| Bounds {
        quotas: vec![Quota {
            limits_left: Some(m(left)),
            ..Quota::default()
        }],
        ..Bounds::default()
    };
    assert_eq!(limits(900, &plain(), &left(105)), Ok((300, Some("quota"))));
    assert_eq!(limits(900, &plain(), &left(0)), Ok((200, Some("quota"))));
    assert_eq!(limits(150, &plain(), &left(0)), Ok((150, None)));
    let mut other = left(0);
    other.quotas[0].terminating = Some(true);
    assert_eq!(limits(900, &plain(), &other), Ok((900, None)));
}

#[test]
fn a_bound_never_turns_growth_into_a_shrink_or_a_shrink_into_growth() {
    // The maximum was lowered after the pod was made.
    let range = container(json!({"max": {"cpu": "150m"}}));
    assert_eq!(limits(300, &plain(), &range), Err("limit_range_max"));
    assert_eq!(
        limits(190, &plain(), &range),
        Ok((150, Some("limit_range_max")))
    );
    let range = container(json!({"min": {"cpu": "300m"}}));
    let raised = Amounts {
        request: m(300),
        limit: Some(m(310)),
        ..plain()
    };
    assert_eq!(
        limits(
            250,
            &Amounts {
                request: m(100),
                limit: Some(m(290)),
                ..plain()
            },
            &range
        ),
        Err("limit_range_min")
    );
    assert_eq!(limits(300, &raised, &range), Ok((300, None)));
    // What is as wanted already is nobody's business.
    assert_eq!(
        limits(200, &plain(), &container(json!({"max": {"cpu": "150m"}}))),
        Ok((200, None))
    );
}

#[test]
fn a_request_grows_into_what_the_node_has_left_and_no_further() {
    let room = Bounds {
        room: Some(m(55)),
        ..Bounds::default()
    };
    let clipped = clip(ResizePolicy::Requests, m(190), &plain(), &room).unwrap();
    assert_eq!((clipped.to, clipped.by), (m(150), Some(Constraint::Room)));
    assert_eq!(limits(900, &plain(), &room), Ok((900, None)));
}

#[test]
fn objects_are_read_as_kubernetes_writes_them() {
    let item = json!({"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}});
    assert_eq!(Range::of(&serde_json::from_value(item).unwrap()), None);
    let item = json!({"type": "Container", "max": {"memory": "1Gi"}});
    assert_eq!(Range::of(&serde_json::from_value(item).unwrap()), None);
    let hard = json!({"hard": {"limits.cpu": "2", "cpu": "1500m", "requests.cpu": "1"}});
    let read = quota(
        hard,
        json!({"limits.cpu": "500m", "cpu": "1", "requests.cpu": "2"}),
    )
    .unwrap();
    assert_eq!(read.limits_left, Some(m(1500)));
    assert_eq!(read.requests_left, Some(m(0)));
    assert_eq!(quota(json!({"hard": {"pods": "3"}}), json!({})), None);
    let best_effort = json!({"hard": {"limits.cpu": "1"}, "scopes": ["BestEffort"]});
    assert_eq!(quota(best_effort, json!({})), None);
    let scoped = json!({"hard": {"limits.cpu": "1"}, "scopes": ["NotTerminating"]});
    assert_eq!(quota(scoped, json!({})).unwrap().terminating, Some(false));
}

/// `LimitRanger` and the quota evaluator, written down from their own source and in
/// another way than [`Window`]: they look at the amounts after the change.
fn admits(request: u64, limit: Option<u64>, before: &Amounts, bounds: &Bounds) -> bool {
    let ranges = bounds.ranges.iter().all(|range| {
        let (others_r, others_l) = match range.measure {
            Measure::Container => (0, 0),
            Measure::Pod => (before.other_requests.get(), before.other_limits.get()),
        };
        let (r, l) = (others_r + request, limit.map(|l| others_l + l));
        range
            .min
            .is_none_or(|min| r >= min.get() && l.is_none_or(|l| l >= min.get()))
            && range
                .max
                .is_none_or(|max| l.is_some_and(|l| l <= max.get()) && r <= max.get())
            && range
                .ratio
                .is_none_or(|ratio| r > 0 && l.is_some_and(|l| l * 1000 <= ratio * r))
    });
    let grown = |after: u64, before: u64, left: Option<MilliCpu>| {
        left.is_none_or(|left| after <= before || after - before <= left.get())
    };
    let quotas = bounds.quotas.iter().all(|quota| {
        let limit_before = before.limit.unwrap_or(MilliCpu::ZERO).get();
        grown(limit.unwrap_or(0), limit_before, quota.limits_left)
            && grown(request, before.request.get(), quota.requests_left)
    });
    let room = grown(request, before.request.get(), bounds.room);
    let pod = before
        .pod_limit
        .is_none_or(|most| limit.unwrap_or(0).max(request) <= most.get());
    let order = limit.is_none_or(|limit| request <= limit);
    ranges && quotas && room && pod && order
}

fn cpu(most: u64) -> impl Strategy<Value = MilliCpu> {
    (0..=most).prop_map(|n| m(n * 5))
}

/// A ratio is at least one: the API server refuses others.
fn bounds() -> impl Strategy<Value = Bounds> {
    let range = (
        any::<bool>(),
        maybe(cpu(60)),
        maybe(cpu(200)),
        maybe(1000u64..6000),
    )
        .prop_map(|(pod, min, max, ratio)| Range {
            measure: if pod {
                Measure::Pod
            } else {
                Measure::Container
            },
            min,
            max,
            ratio,
        });
    let quota = (maybe(cpu(100)), maybe(cpu(100))).prop_map(|(limits_left, requests_left)| Quota {
        limits_left,
        requests_left,
        terminating: None,
    });
    let ranges = proptest::collection::vec(range, 0..3);
    let quotas = proptest::collection::vec(quota, 0..2);
    (ranges, quotas, maybe(cpu(100))).prop_map(|(ranges, quotas, room)| Bounds {
        ranges,
        quotas,
        room,
    })
}

/// As an API server has let them in: no limit below its request or above its pod's.
fn amounts() -> impl Strategy<Value = Amounts> {
    let amounts = (cpu(60), maybe(cpu(60)), cpu(40), cpu(60), maybe(cpu(100)));
    amounts.prop_map(|(request, above, other_requests, other_limits, room)| {
        let limit = above.map(|above| m(request.get() + above.get()));
        Amounts {
            request,
            limit,
            other_requests,
            other_limits,
            pod_limit: room.map(|room| m(limit.unwrap_or(request).get() + room.get())),
            ..Amounts::default()
        }
    })
}

fn policy() -> impl Strategy<Value = ResizePolicy> {
    prop_oneof![
        Just(ResizePolicy::Limits),
        Just(ResizePolicy::Requests),
        Just(ResizePolicy::Both)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn what_fits_is_admitted_and_nothing_nearer_is(
        policy in policy(),
        wanted in 1u64..150,
        amounts in amounts(),
        bounds in bounds(),
    ) {
        let wanted = wanted * 10;
        let current = match policy {
            ResizePolicy::Requests => Some(amounts.request.get()),
            _ => amounts.limit.map(MilliCpu::get),
        };
        prop_assume!(current != Some(wanted));
        let admitted = |to: u64| match policy {
            ResizePolicy::Limits => admits(amounts.request.get(), Some(to), &amounts, &bounds),
            ResizePolicy::Requests => admits(to, amounts.limit.map(MilliCpu::get), &amounts, &bounds),
            ResizePolicy::Both => admits(to, Some(to), &amounts, &bounds),
        };
        let clipped = clip(policy, m(wanted), &amounts, &bounds);
        let to = clipped.map(|clipped| clipped.to.get());
        if let Ok(to) = to {
            prop_assert!(admitted(to) || current == Some(to), "{to} is refused");
            prop_assert_eq!(clipped.unwrap().by.is_some(), to != wanted);
        }
        // Every quantum between what is wanted and what came out, or what there is, is refused.
        let end = to.ok().or(current);
        if let Some(end) = end {
            let (low, high) = (wanted.min(end), wanted.max(end));
            for between in (1..160).map(|n| n * 10).filter(|n| (low..=high).contains(n) && *n != end) {
                prop_assert!(!admitted(between), "{between} would have been admitted, and {to:?} came out");
            }
        }
    }
}
