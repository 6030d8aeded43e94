//! Laws that hold for every pod, on generated ones.

use std::collections::BTreeSet;

use mbcas_api::names::{AGENT_CONTAINER, AGENT_VOLUME};
use mbcas_api::participant::{cpu_limit, cpu_request};
use mbcas_core::annotations::{BUDGET, RESERVED_PREFIX};
use mbcas_core::units::MilliCpu;
use proptest::prelude::*;
use serde_json::json;

use super::tests::{applied, judge, original};
use super::*;

fn cpu() -> impl Strategy<Value = String> {
    prop_oneof![
        (1u64..5000).prop_map(|m| format!("{m}m")),
        (1u64..100).prop_map(|c| c.to_string()),
        Just("0".to_owned())
    ]
}

fn resources() -> impl Strategy<Value = Value> {
    let list = || {
        (
            proptest::option::of(cpu()),
            proptest::option::of(prop_oneof![Just("64Mi"), Just("1Gi")]),
        )
            .prop_map(|(cpu, memory)| {
                let mut list = serde_json::Map::new();
                list.extend(cpu.map(|cpu| ("cpu".to_owned(), json!(cpu))));
                list.extend(memory.map(|memory| ("memory".to_owned(), json!(memory))));
                Value::Object(list)
            })
    };
    prop_oneof![
        1 => Just(Value::Null),
        1 => Just(json!({})),
        3 => list().prop_map(|list| json!({"requests": list})),
        2 => list().prop_map(|list| json!({"requests": list.clone(), "limits": list})),
        3 => (list(), list()).prop_map(|(requests, limits)| json!({"requests": requests, "limits": limits})),
    ]
}

fn container(index: usize) -> impl Strategy<Value = Value> {
    let port = proptest::option::weighted(0.1, Just(9465));
    (resources(), port, any::<bool>(), 0..20).prop_map(move |(resources, port, restarts, clash)| {
        let name = if clash == 0 {
            AGENT_CONTAINER.to_owned()
        } else {
            format!("c{index}")
        };
        let mut container = json!({"name": name, "image": "i", "futureField": {"x": [1, null]}});
        if !resources.is_null() {
            container["resources"] = resources;
        }
        if let Some(port) = port {
            container["ports"] = json!([{"containerPort": port}]);
        }
        if restarts && index == 1 {
            container["resizePolicy"] =
                json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
        }
        container
    })
}

fn annotations() -> impl Strategy<Value = Value> {
    let entry = prop_oneof![
        Just(("mbcas.enabled", "true")),
        Just(("mbcas.enabled", "false")),
        Just(("mbcas.maxCPU", "4999m")),
        Just(("mbcas.maxCPU", "100")),
        Just(("mbcas.agent", "none")),
        Just(("mbcas.metrics", "http://localhost:80/m#q")),
        Just(("mbcas.container", "c1")),
        Just((
            ORIGINAL_ANNOTATION,
            r#"{"version":1,"containers":{"c0":{}}}"#
        )),
        Just((INJECTION_ANNOTATION, "injected")),
        Just(("mbcas.dev/~1", "x")),
        Just(("some.one/else", "y")),
        Just((BUDGET, "lots")),
    ];
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Value::Null)),
        8 => proptest::collection::vec(entry, 0..4).prop_map(|entries| {
            Some(entries.into_iter().map(|(k, v)| (k.to_owned(), json!(v))).collect::<serde_json::Map<_, _>>().into())
        }),
    ]
    .prop_map(|annotations| annotations.unwrap_or_else(|| json!("absent")))
}

fn any_pod() -> impl Strategy<Value = Value> {
    let containers = (container(0), proptest::option::of(container(1)))
        .prop_map(|(first, second)| std::iter::once(first).chain(second).collect::<Vec<_>>());
    let inits = proptest::option::of(proptest::collection::vec(container(2), 0..2));
    let volumes = proptest::option::of(prop_oneof![
        Just(json!([])),
        Just(json!([{"name": "v"}])),
        Just(Value::Null)
    ]);
    (annotations(), containers, inits, volumes, any::<bool>(), 0..8).prop_map(|(annotations, containers, inits, volumes, owned, odd)| {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": containers, "unknownToUs": [{}]}, "x": 1});
        if annotations != "absent" {
            pod["metadata"]["annotations"] = annotations;
        }
        if let Some(inits) = inits {
            pod["spec"]["initContainers"] = json!(inits);
        }
        if let Some(volumes) = volumes {
            pod["spec"]["volumes"] = volumes;
        }
        if owned {
            pod["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true}]);
        }
        match odd {
            0 => pod["spec"]["hostNetwork"] = json!(true),
            1 => pod["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "windows"}),
            2 => pod["spec"]["resources"] = json!({"requests": {"cpu": "1"}}),
            _ => {}
        }
        pod
    })
}

/// `pod` without everything that a patch of ours may touch.
fn beyond_us(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let spec = pod["spec"].as_object_mut().unwrap();
    for container in spec["containers"].as_array_mut().unwrap() {
        let Some(resources) = container
            .get_mut("resources")
            .and_then(Value::as_object_mut)
        else {
            continue;
        };
        let Some(limits) = resources.get_mut("limits").and_then(Value::as_object_mut) else {
            continue;
        };
        limits.remove("cpu");
        if limits.is_empty() {
            resources.remove("limits");
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
    let metadata = pod["metadata"].as_object_mut().unwrap();
    if let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.retain(|key, _| !key.starts_with(RESERVED_PREFIX));
    }
    if metadata
        .get("annotations")
        .is_some_and(|a| a.is_null() || a.as_object().is_some_and(serde_json::Map::is_empty))
    {
        metadata.remove("annotations");
    }
    pod
}

fn class(pod: &Value) -> Qos {
    Qos::of(&serde_json::from_value(pod["spec"].clone()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn a_patch_applies_keeps_the_class_and_touches_nothing_else(pod in any_pod()) {
        let verdict = judge(&pod);
        let patched = applied(&pod);
        prop_assert_eq!(beyond_us(&patched), beyond_us(&pod));
        prop_assert_eq!(class(&patched), class(&pod), "{}", &patched);
        prop_assert!(verdict.warnings.iter().all(|w| w.is_ascii() && w.len() <= 256));
        // Only a missing limit is ever set, and it is never below the request.
        let pairs = pod["spec"]["containers"].as_array().unwrap().iter().zip(patched["spec"]["containers"].as_array().unwrap());
        for (before, after) in pairs {
            let (before, after): (Container, Container) =
                (serde_json::from_value(before.clone()).unwrap(), serde_json::from_value(after.clone()).unwrap());
            if cpu_limit(&before).is_some() {
                prop_assert_eq!(cpu_limit(&before), cpu_limit(&after));
            } else if let Some(limit) = cpu_limit(&after) {
                prop_assert!(limit >= cpu_request(&before).unwrap_or(MilliCpu::ZERO));
            }
        }
    }

    #[test]
    fn applied_twice_is_applied_once(pod in any_pod()) {
        let once = applied(&pod);
        let verdict = judge(&once);
        prop_assert!(verdict.patch.0.is_empty(), "{:?} {} {}", &verdict.decision, json!(verdict.patch), once);
        let first = judge(&pod).decision;
        let expected = if first == Decision::Inject { Decision::Skip(SkipReason::AlreadyInjected) } else { first };
        prop_assert_eq!(verdict.decision, expected);
    }

    #[test]
    fn whoever_takes_part_carries_a_record_of_what_was_submitted_and_nobody_else_does(pod in any_pod()) {
        let takes_part = match judge(&pod).decision {
            Decision::Inject => true,
            Decision::Skip(reason) => reason.takes_part(),
            Decision::Deny(..) => return Ok(()),
        };
        let patched = applied(&pod);
        let record = patched["metadata"]["annotations"].get(ORIGINAL_ANNOTATION).is_some();
        prop_assert_eq!(record, takes_part);
        if takes_part && pod["metadata"]["annotations"].get(ORIGINAL_ANNOTATION).is_none() {
            let containers: Vec<Container> = serde_json::from_value(pod["spec"]["containers"].clone()).unwrap();
            prop_assert_eq!(original(&patched).containers, Original::of(&containers, "").containers);
        }
    }
}

#[test]
fn the_generator_reaches_every_decision() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let seen: BTreeSet<_> = (0..4_000)
        .map(|_| {
            judge(&any_pod().new_tree(&mut runner).unwrap().current())
                .decision
                .reason()
        })
        .collect();
    let expected: BTreeSet<_> = SkipReason::ALL
        .iter()
        .filter(|r| {
            !matches!(
                r,
                SkipReason::NotAPodCreation
                    | SkipReason::StaticPod
                    | SkipReason::AlreadyInjected
                    | SkipReason::LimitRange
                    | SkipReason::Quota
            )
        })
        .map(|r| r.as_str())
        .chain(["injected", "malformed"])
        .collect();
    assert_eq!(seen, expected);
}
