//! What holds for every resize of every pod that is accepted.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use mbcas_api::qos::Qos;
use mbcas_core::quantity::Quantity;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::bounds::Bounds;
use crate::fixtures::{owner_of, status};
use crate::plan::{ResizePlan, plan};
use crate::request::{ResizePolicy, ResizeRequest};

const LISTS: [(&str, &str); 2] = [
    ("containers", "f:containers"),
    ("initContainers", "f:initContainers"),
];

/// A container's amounts as an API server keeps them: no limit below its request,
/// and none without one. Few values, so that equal ones are common.
fn resources() -> impl Strategy<Value = Value> {
    let amount = prop_oneof![Just(None), (1u64..5).prop_map(|n| Some(n * 100))];
    let pair = (amount.clone(), amount).prop_map(|(request, limit)| match (request, limit) {
        (Some(request), Some(limit)) => (Some(request.min(limit)), Some(request.max(limit))),
        (None, Some(limit)) => (Some(limit), Some(limit)),
        other => other,
    });
    (pair.clone(), pair).prop_map(|(cpu, memory)| {
        let mut resources = json!({ "requests": {}, "limits": {} });
        for (name, unit, (request, limit)) in [("cpu", "m", cpu), ("memory", "Mi", memory)] {
            for (side, amount) in [("requests", request), ("limits", limit)] {
                if let Some(amount) = amount {
                    resources[side][name] = json!(format!("{amount}{unit}"));
                }
            }
        }
        resources
    })
}

/// Who resized which of a container's amounts before: nobody, us or another.
fn owners() -> impl Strategy<Value = Vec<Option<&'static str>>> {
    proptest::collection::vec(
        prop_oneof![2 => Just(None), 2 => Just(Some("mbcas")), 1 => Just(Some("vpa"))],
        4,
    )
}

fn pod() -> impl Strategy<Value = Pod> {
    let container = (resources(), owners(), any::<bool>());
    proptest::collection::vec(container, 1..4).prop_map(|containers| {
        let mut pod = json!({
            "metadata": { "name": "p", "namespace": "n", "uid": "u", "resourceVersion": "1", "managedFields": [] },
            "spec": { "containers": [], "initContainers": [] },
            "status": { "phase": "Running", "containerStatuses": [status("c0", "1", "1")] },
        });
        for (index, (resources, owners, sidecar)) in containers.into_iter().enumerate() {
            let name = format!("c{index}");
            // A pod has at least one container that is no sidecar.
            let (list, key) = LISTS[usize::from(sidecar && index > 0)];
            let fields = ["requests.cpu", "limits.cpu", "requests.memory", "limits.memory"];
            for (field, owner) in fields.into_iter().zip(owners) {
                let (side, resource) = field.split_once('.').unwrap();
                let exists = resources[side].get(resource).is_some();
                if let Some(owner) = owner.filter(|_| exists) {
                    let entry = owner_of(key, &name, owner, "Apply", Some("resize"), &[field]);
                    pod["metadata"]["managedFields"].as_array_mut().unwrap().push(entry);
                }
            }
            let container = json!({ "name": name, "restartPolicy": "Always", "resources": resources });
            pod["spec"][list].as_array_mut().unwrap().push(container);
        }
        serde_json::from_value(pod).unwrap()
    })
}

fn request() -> impl Strategy<Value = ResizeRequest> {
    let amount = |unit: &'static str| {
        proptest::option::of(
            (1u64..50).prop_map(move |n| Quantity::parse(&format!("{}{unit}", n * 10)).unwrap()),
        )
    };
    let policy = prop_oneof![
        Just(ResizePolicy::Limits),
        Just(ResizePolicy::Requests),
        Just(ResizePolicy::Both)
    ];
    (
        amount("m"),
        amount("Mi"),
        amount("m"),
        policy,
        0usize..3,
        any::<bool>(),
    )
        .prop_map(
            |(cpu, memory, cpu_request, policy, index, take_over)| ResizeRequest {
                container: Some(format!("c{index}")),
                cpu,
                memory,
                cpu_request,
                policy,
                take_over,
                lower_memory: true,
                ..ResizeRequest::default()
            },
        )
}

type Amounts = BTreeMap<(String, &'static str, &'static str), Quantity>;

/// Every cpu and memory amount in `spec`, by container, side and resource.
fn amounts(spec: &Value) -> Amounts {
    let mut amounts = Amounts::new();
    for (list, _) in LISTS {
        for container in spec[list].as_array().into_iter().flatten() {
            for side in ["requests", "limits"] {
                for resource in ["cpu", "memory"] {
                    if let Some(text) = container["resources"][side].get(resource) {
                        let key = (
                            container["name"].as_str().unwrap().to_owned(),
                            side,
                            resource,
                        );
                        amounts.insert(key, Quantity::parse(text.as_str().unwrap()).unwrap());
                    }
                }
            }
        }
    }
    amounts
}

/// Server-side apply as far as it matters: the patch's amounts are set, and what
/// we owned and left out is removed.
fn applied(pod: &Pod, plan: &ResizePlan) -> Value {
    let mut after = serde_json::to_value(pod).unwrap();
    let ours = crate::Ownership::of(pod, "mbcas").ours;
    for (list, _) in LISTS {
        for container in after["spec"][list].as_array_mut().into_iter().flatten() {
            let name = container["name"].clone();
            for field in ours.iter().filter(|f| f.container == name) {
                let side = container["resources"][field.side.name()]
                    .as_object_mut()
                    .unwrap();
                side.remove(field.resource.name());
            }
            for patch in plan.patch["spec"][list].as_array().into_iter().flatten() {
                if patch["name"] == container["name"] {
                    for (side, amounts) in patch["resources"].as_object().unwrap() {
                        for (resource, amount) in amounts.as_object().unwrap() {
                            container["resources"][side][resource] = amount.clone();
                        }
                    }
                }
            }
        }
    }
    after
}

/// The class by sums over the pod, as Kubernetes computed it for years: another
/// way than [`crate::qos`] takes.
fn class_by_sums(spec: &Value) -> &'static str {
    let amounts = amounts(spec);
    if amounts.is_empty() {
        return "BestEffort";
    }
    let containers = LISTS
        .iter()
        .flat_map(|(list, _)| spec[list].as_array().into_iter().flatten());
    let limited = |name: &Value| {
        ["cpu", "memory"]
            .iter()
            .all(|r| amounts.contains_key(&(name.as_str().unwrap().to_owned(), "limits", *r)))
    };
    let all_limited = containers.map(|c| &c["name"]).all(limited);
    let sum = |side: &str, resource: &str| -> u64 {
        let matching = amounts
            .iter()
            .filter(|((_, s, r), _)| *s == side && *r == resource);
        matching.map(|(_, q)| q.as_cpu().unwrap().get()).sum()
    };
    let equal = ["cpu", "memory"]
        .iter()
        .all(|r| sum("requests", r) == sum("limits", r));
    if all_limited && equal {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// The patch holds identity and amounts, and nothing else.
fn is_bare(patch: &Value) -> bool {
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let within =
        |value: &Value, known: &[&str]| keys(value).iter().all(|k| known.contains(&k.as_str()));
    let bare_container = |c: &Value| {
        within(c, &["name", "resources"])
            && within(&c["resources"], &["requests", "limits"])
            && c["resources"]
                .as_object()
                .unwrap()
                .values()
                .all(|side| within(side, &["cpu", "memory"]))
    };
    within(patch, &["apiVersion", "kind", "metadata", "spec"])
        && within(
            &patch["metadata"],
            &["name", "namespace", "uid", "resourceVersion"],
        )
        && within(&patch["spec"], &["containers", "initContainers"])
        && patch["spec"]
            .as_object()
            .unwrap()
            .values()
            .all(|list| list.as_array().unwrap().iter().all(bare_container))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn an_accepted_plan_is_lawful(pod in pod(), request in request()) {
        let Ok(plan) = plan(&pod, &request, "mbcas") else { return Ok(()) };
        let before = serde_json::to_value(&pod).unwrap();
        let after = applied(&pod, &plan);

        prop_assert_eq!(class_by_sums(&before["spec"]), class_by_sums(&after["spec"]));
        prop_assert!(is_bare(&plan.patch), "{}", plan.patch);

        // Exactly the changes have changed: nothing else, nothing less, nothing removed.
        let mut expected = amounts(&before["spec"]);
        for change in &plan.changes {
            let key = (change.field.container.clone(), change.field.side.name(), change.field.resource.name());
            prop_assert_eq!(expected.insert(key, change.to.clone()), change.from.clone());
        }
        let amounts = amounts(&after["spec"]);
        prop_assert_eq!(&amounts, &expected);

        // The container that changed has no limit below its request, and no limit without one.
        for change in &plan.changes {
            let of = |side| amounts.get(&(plan.container.clone(), side, change.field.resource.name()));
            if let Some(limit) = of("limits") {
                prop_assert!(of("requests").is_some_and(|request| request <= limit));
            }
        }

        // Once it has happened there is nothing left to do.
        let again: Pod = serde_json::from_value(after).unwrap();
        prop_assert_eq!(crate::plan(&again, &request, "mbcas").unwrap().changes, []);
    }

    #[test]
    fn limits_mode_never_touches_a_request(pod in pod(), request in request()) {
        let request = ResizeRequest { policy: ResizePolicy::Limits, cpu_request: None, ..request };
        if let Ok(plan) = plan(&pod, &request, "mbcas") {
            prop_assert!(plan.changes.iter().all(|c| c.field.side == crate::Side::Limits));
        }
    }

    #[test]
    fn only_a_take_over_forces_past_another_resizer(pod in pod(), request in request()) {
        let Ok(plan) = plan(&pod, &request, "mbcas") else { return Ok(()) };
        let owners = crate::Ownership::of(&pod, "mbcas");
        let contested = plan.changes.iter().any(|c| owners.resizers.iter().any(|(_, field)| *field == c.field));
        prop_assert_eq!(plan.force, request.take_over || !contested);
    }
}

/// The class stays over 100,000 random pods, whatever is asked and however it is fitted: a
/// quarter of them in each of four tests, which run side by side. Plain loops, as as many
/// shrinkable cases would take minutes.
fn no_accepted_plan_changes_the_class(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let parts: Vec<_> = (0..500).map(|_| drawn_resources(&mut random)).collect();
    let (mut accepted, mut forced, mut fitted) = (0_u32, 0_u32, 0_u32);
    for _ in 0..25_000 {
        let pod = drawn_pod(&mut random, &parts);
        let request = drawn_request(&mut random);
        let Ok(plan) = plan(&pod, &request, "mbcas") else {
            continue;
        };
        let before = pod.spec.as_ref().unwrap();
        let (class, after) = (
            Qos::of(before),
            crate::plan::with_changes(before, &plan.changes),
        );
        assert_eq!(class, Qos::of(&after), "{pod:?} {request:?}");
        assert_ne!(class, Qos::BestEffort, "{pod:?} {request:?}");
        accepted += 1;
        forced += u32::from(class == Qos::Guaranteed && request.policy != ResizePolicy::Both);
        fitted += u32::from(plan.bound_by.is_some());
    }
    // The law says something only if all kinds occur.
    assert!(
        accepted > 5_000 && forced > 100 && fitted > 250,
        "{accepted} accepted, {forced} forced, {fitted} fitted"
    );
}

#[test]
fn no_accepted_plan_changes_the_class_of_the_first_25_000_pods() {
    no_accepted_plan_changes_the_class(1);
}

#[test]
fn no_accepted_plan_changes_the_class_of_the_second_25_000_pods() {
    no_accepted_plan_changes_the_class(2);
}

#[test]
fn no_accepted_plan_changes_the_class_of_the_third_25_000_pods() {
    no_accepted_plan_changes_the_class(3);
}

#[test]
fn no_accepted_plan_changes_the_class_of_the_fourth_25_000_pods() {
    no_accepted_plan_changes_the_class(4);
}

fn drawn_resources(random: &mut StdRng) -> ResourceRequirements {
    let mut resources = ResourceRequirements::default();
    // One in three as a Guaranteed pod has them, so that such pods occur.
    let exact = random.random_bool(0.35);
    for (name, unit) in [("cpu", "m"), ("memory", "Mi")] {
        let mut draw = |likely| {
            random
                .random_bool(likely)
                .then(|| random.random_range(1..5_u32) * 50)
        };
        let (mut request, mut limit) = (draw(0.75), draw(0.7));
        if exact {
            request = request.or(Some(100));
            limit = request;
        }
        limit = limit.map(|limit| limit.max(request.unwrap_or(0)));
        let text = |amount: u32| Amount(format!("{amount}{unit}"));
        if let Some(amount) = request.or(limit) {
            let requests = resources.requests.get_or_insert_default();
            requests.insert(name.to_owned(), text(amount));
        }
        if let Some(amount) = limit {
            let limits = resources.limits.get_or_insert_default();
            limits.insert(name.to_owned(), text(amount));
        }
    }
    resources
}

fn drawn_pod(random: &mut StdRng, parts: &[ResourceRequirements]) -> Pod {
    let mut spec = PodSpec::default();
    for index in 0..random.random_range(1..4) {
        let sidecar = index > 0 && random.random_bool(0.3);
        let container = Container {
            name: format!("c{index}"),
            resources: parts.get(random.random_range(0..parts.len())).cloned(),
            restart_policy: sidecar.then(|| "Always".to_owned()),
            ..Container::default()
        };
        if sidecar {
            spec.init_containers.get_or_insert_default().push(container);
        } else {
            spec.containers.push(container);
        }
    }
    let mut pod = Pod::default();
    pod.metadata.name = Some("p".to_owned());
    pod.metadata.uid = Some("u".to_owned());
    pod.metadata.resource_version = Some("1".to_owned());
    pod.spec = Some(spec);
    pod
}

fn drawn_request(random: &mut StdRng) -> ResizeRequest {
    let amount = |text: String| Quantity::parse(&text).unwrap();
    let policies = [
        ResizePolicy::Both,
        ResizePolicy::Limits,
        ResizePolicy::Requests,
    ];
    ResizeRequest {
        container: Some(format!("c{}", random.random_range(0..2))),
        cpu: random
            .random_bool(0.9)
            .then(|| amount(format!("{}m", random.random_range(1..30) * 10))),
        memory: random
            .random_bool(0.2)
            .then(|| amount(format!("{}Mi", random.random_range(1..6) * 50))),
        policy: policies[random.random_range(0..3)],
        both_if_guaranteed: random.random_bool(0.5),
        lower_memory: random.random_bool(0.5),
        bounds: random.random_bool(0.5).then(Bounds::default),
        ..ResizeRequest::default()
    }
}
