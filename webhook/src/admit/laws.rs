//! Laws that hold for every pod in every namespace, on generated ones: 10,000 of
//! each, or as many as `MBCAS_CASES` says (`make test-long`: a million).

mod generate;
mod restricted;

use std::collections::BTreeSet;

use mbcas_api::names::{AGENT_CONTAINER, AGENT_VOLUME};
use mbcas_api::original::OriginalCpu;
use mbcas_api::participant::{cpu_limit, cpu_request};
use mbcas_core::annotations::{BUDGET, MIN_CPU, MODE, PROCESSES, RESERVED_PREFIX};
use mbcas_core::units::MilliCpu;
use proptest::prelude::*;
use serde_json::json;

use self::generate::{any_namespace, any_pod};
use super::tests::{original, policy};
use super::*;
use crate::mesh::{ISTIO_PORTS, LINKERD_PORTS};

fn cases() -> ProptestConfig {
    let asked = std::env::var("MBCAS_CASES").ok();
    ProptestConfig {
        cases: asked.map_or(10_000, |cases| cases.parse().unwrap()),
        ..ProptestConfig::default()
    }
}

/// The verdict, and the pod as it makes it.
fn admitted(pod: &Value, namespace: &Namespace) -> (Verdict, Value) {
    let verdict = admit(pod, &policy(), namespace).unwrap();
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &verdict.patch.operations().unwrap()).unwrap();
    (verdict, patched)
}

fn containers(pod: &Value) -> Vec<Container> {
    serde_json::from_value(pod["spec"]["containers"].clone()).unwrap()
}

fn class(pod: &Value) -> Qos {
    Qos::of(&serde_json::from_value(pod["spec"].clone()).unwrap())
}

/// Takes `key` out of the object at `place`, and the object if that was all.
fn take(of: &mut Value, place: &str, key: &str) {
    let Some(object) = of.get_mut(place).and_then(Value::as_object_mut) else {
        return;
    };
    object.remove(key);
    if object.is_empty() {
        of.as_object_mut().unwrap().remove(place);
    }
}

/// `pod` without everything that a patch of ours may touch.
fn beyond_us(pod: &Value, has_policy: bool) -> Value {
    let mut pod = pod.clone();
    let spec = pod["spec"].as_object_mut().unwrap();
    for container in spec["containers"].as_array_mut().unwrap() {
        if let Some(resources) = container.get_mut("resources") {
            take(resources, "limits", "cpu");
            if has_policy {
                take(resources, "requests", "cpu");
            }
        }
        let is_empty =
            |r: &Value| r.is_null() || r.as_object().is_some_and(serde_json::Map::is_empty);
        if container.get("resources").is_some_and(is_empty) {
            container.as_object_mut().unwrap().remove("resources");
        }
    }
    for list in ["initContainers", "volumes"] {
        if let Some(items) = spec.get_mut(list).and_then(Value::as_array_mut) {
            items.retain(|item| item["name"] != AGENT_CONTAINER && item["name"] != AGENT_VOLUME);
        }
        if spec
            .get(list)
            .is_some_and(|items| items.is_null() || items.as_array().is_some_and(Vec::is_empty))
        {
            spec.remove(list);
        }
    }
    let asks = pod["metadata"]["annotations"][PROCESSES] == "shared";
    let spec = pod["spec"].as_object_mut().unwrap();
    if asks && spec.get("shareProcessNamespace") != Some(&json!(false)) {
        spec.remove("shareProcessNamespace");
    }
    let ours = |key: &str| {
        key.starts_with(RESERVED_PREFIX)
            || [ISTIO_PORTS, LINKERD_PORTS].contains(&key)
            || has_policy && [BUDGET, MIN_CPU, MAX_CPU, MODE].contains(&key)
    };
    let metadata = pod["metadata"].as_object_mut().unwrap();
    if let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.retain(|key, _| !ours(key));
    }
    if metadata
        .get("annotations")
        .is_some_and(|a| a.is_null() || a.as_object().is_some_and(serde_json::Map::is_empty))
    {
        metadata.remove("annotations");
    }
    pod
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_patch_applies_and_touches_nothing_else(pod in any_pod(), namespace in any_namespace()) {
        let (verdict, patched) = admitted(&pod, &namespace);
        let has_policy = *namespace.policy() != mbcas_api::BudgetPolicySpec::default();
        prop_assert_eq!(beyond_us(&patched, has_policy), beyond_us(&pod, has_policy));
        prop_assert!(verdict.warnings.iter().all(|w| w.is_ascii()));
        for mesh in [ISTIO_PORTS, LINKERD_PORTS] {
            let of = |pod: &Value| pod["metadata"]["annotations"][mesh].as_str().map(str::to_owned);
            let (before, after) = (of(&pod), of(&patched));
            prop_assert!(before == after || before.is_some_and(|ports| after.unwrap().starts_with(&ports)));
        }
    }

    #[test]
    fn processes_are_shared_only_where_both_pod_and_agent_are_there_for_it(pod in any_pod(), namespace in any_namespace()) {
        let (verdict, patched) = admitted(&pod, &namespace);
        let shared = |pod: &Value| pod["spec"]["shareProcessNamespace"].clone();
        let asks = pod["metadata"]["annotations"][PROCESSES] == "shared";
        let warned = verdict.warnings.iter().any(|w| w.contains("(processes_"));
        let is_free = shared(&pod) != false && pod["spec"]["hostPID"] != true;
        if asks && verdict.decision.has_sidecar() && is_free {
            prop_assert_eq!(shared(&patched), true);
            prop_assert!(!warned);
        } else {
            prop_assert_eq!(shared(&patched), shared(&pod));
            prop_assert_eq!(warned, asks && verdict.decision.takes_part());
        }
    }

    #[test]
    fn only_what_is_missing_is_set(pod in any_pod(), namespace in any_namespace()) {
        let (_, patched) = admitted(&pod, &namespace);
        let default = namespace.policy().defaults.cpu_request.map(MilliCpu::from);
        for (before, after) in containers(&pod).iter().zip(&containers(&patched)) {
            match cpu_request(before) {
                Some(request) => prop_assert_eq!(cpu_request(after), Some(request)),
                None => prop_assert!(cpu_request(after).is_none() || cpu_request(after) <= default),
            }
            if cpu_limit(before).is_some() {
                prop_assert_eq!(cpu_limit(before), cpu_limit(after));
            } else if let Some(limit) = cpu_limit(after) {
                prop_assert!(limit >= cpu_request(after).unwrap_or(MilliCpu::ZERO));
            }
        }
    }

    #[test]
    fn the_class_stays_unless_a_policy_sets_defaults_and_a_warning_says_so(pod in any_pod(), namespace in any_namespace()) {
        let (verdict, patched) = admitted(&pod, &namespace);
        if class(&patched) != class(&pod) {
            prop_assert_eq!((class(&pod), class(&patched)), (Qos::BestEffort, Qos::Burstable), "{}", &patched);
            prop_assert!(namespace.policy().defaults.cpu_request.is_some());
            let said = verdict.warnings.iter().any(|w| w.contains("Burstable instead of BestEffort"));
            prop_assert!(said, "{:?}", verdict.warnings);
        }
    }

    #[test]
    fn what_pod_security_let_in_it_still_lets_in(pod in any_pod(), namespace in any_namespace()) {
        let (_, patched) = admitted(&pod, &namespace);
        prop_assert!(!restricted::admits(&pod["spec"]) || restricted::admits(&patched["spec"]), "{}", &patched);
    }

    #[test]
    fn applied_twice_is_applied_once(pod in any_pod(), namespace in any_namespace()) {
        let (first, once) = admitted(&pod, &namespace);
        let (second, _) = admitted(&once, &namespace);
        prop_assert!(second.patch.is_empty(), "{:?} {} {}", &second.decision, second.patch.as_str(), once);
        let expected = match first.decision {
            Decision::Inject => Decision::Skip(SkipReason::AlreadyInjected),
            other => other,
        };
        prop_assert_eq!(second.decision, expected);
    }

    #[test]
    fn whoever_takes_part_carries_a_record_of_what_was_submitted_and_nobody_else_does(pod in any_pod(), namespace in any_namespace()) {
        let (verdict, patched) = admitted(&pod, &namespace);
        if matches!(verdict.decision, Decision::Deny(..)) {
            return Ok(());
        }
        let has_record = |pod: &Value| pod["metadata"]["annotations"].get(ORIGINAL_ANNOTATION).is_some();
        prop_assert_eq!(has_record(&patched), verdict.decision.takes_part());
        if verdict.decision.takes_part() && !has_record(&pod) {
            // A request by default counts as submitted.
            let (before, after) = (containers(&pod), containers(&patched));
            for (before, after) in before.iter().zip(&after) {
                let record = &original(&patched).containers[&before.name];
                prop_assert_eq!(&record.limit, &OriginalCpu::of(before).limit);
                prop_assert_eq!(&record.request, &OriginalCpu::of(after).request);
            }
        }
    }
}

#[test]
fn the_generator_reaches_every_decision_and_restricted_pods_with_an_agent() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut seen, mut confined) = (BTreeSet::new(), 0);
    for _ in 0..10_000 {
        let case = (any_pod(), any_namespace());
        let (pod, namespace) = case.new_tree(&mut runner).unwrap().current();
        let verdict = admit(&pod, &policy(), &namespace).unwrap();
        seen.insert(verdict.decision.reason());
        let is_both = verdict.decision == Decision::Inject && restricted::admits(&pod["spec"]);
        confined += usize::from(is_both);
    }
    let never = [
        SkipReason::NotAPodCreation,
        SkipReason::StaticPod,
        SkipReason::AlreadyInjected,
    ];
    let expected: BTreeSet<_> = SkipReason::ALL
        .iter()
        .filter(|reason| !never.contains(reason))
        .map(|reason| reason.as_str())
        .chain(["injected", "malformed", "over_allotment"])
        .collect();
    assert_eq!(seen, expected);
    assert!(confined > 100, "{confined}");
}
