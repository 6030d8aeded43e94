//! The policy of bounds lets through what a namespace's BudgetPolicy allows.

use mbcas_api::BudgetPolicySpec;
use mbcas_core::annotations::{Mode, Settings};
use mbcas_core::{MilliCpu, Quantity};
use mbcas_webhook::Namespace;
use mbcas_webhook::allotment::Allotment;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::generate::{Annotations, annotations};
use super::{Policy, Request, SETS, Verdict, cases};

fn pod(annotations: &Annotations) -> Json {
    // A pod without annotations has no such field.
    let mut metadata = json!({"name": "web"});
    if !annotations.is_empty() {
        metadata["annotations"] = json!(annotations);
    }
    json!({"metadata": metadata, "spec": {"containers": [{"name": "app"}]}})
}

/// A BudgetPolicy's spec: any field may be absent, and so may the spec.
fn spec() -> impl Strategy<Value = Json> {
    let number = proptest::option::of(prop_oneof![1..600_u32, Just(1), Just(1_000_000)]);
    let cpu = proptest::option::of(prop_oneof![proptest::sample::select(vec![
        "10m", "249m", "250m", "250.5m", "0.251", "1", "10k", "0", "lots"
    ]),]);
    let opt_out = proptest::option::of(proptest::sample::select(vec!["Allow", "Deny"]));
    let mode = proptest::option::of(proptest::sample::select(vec![
        "observe",
        "recommend",
        "auto",
    ]));
    (number.clone(), number, cpu.clone(), cpu, opt_out, mode).prop_map(
        |(min, max, least, most, opt_out, mode)| {
            let mut spec = json!({});
            let fields = [
                ("/mode", json!(mode)),
                ("/budget/min", json!(min)),
                ("/budget/max", json!(max)),
                ("/cpu/minPerPod", json!(least)),
                ("/cpu/maxPerPod", json!(most)),
                ("/optOut", json!(opt_out)),
            ];
            for (path, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
                let mut at = &mut spec;
                for step in path.split('/').skip(1) {
                    at = &mut at[step];
                }
                *at = value;
            }
            spec
        },
    )
}

/// Whether well-formed `annotations` are within the bounds.
fn within(annotations: &Annotations, spec: &Json) -> bool {
    let settings = Settings::parse(annotations).unwrap();
    let number = |path: &str| spec.pointer(path).and_then(Json::as_u64);
    let cpu = |path: &str| -> Option<MilliCpu> {
        Quantity::parse(spec.pointer(path)?.as_str()?)
            .ok()?
            .as_cpu()
    };
    let budget = settings.budget.is_none_or(|budget| {
        number("/budget/min").is_none_or(|min| min <= budget.get())
            && number("/budget/max").is_none_or(|max| max >= budget.get())
    });
    let most = cpu("/cpu/maxPerPod");
    let least = settings.min_cpu.is_none_or(|min| {
        cpu("/cpu/minPerPod").is_none_or(|bound| min >= bound)
            && most.is_none_or(|bound| min <= bound)
    });
    let most = settings.max_cpu.is_none_or(|max| {
        cpu("/cpu/minPerPod").is_none_or(|bound| max >= bound)
            && most.is_none_or(|bound| max <= bound)
    });
    let mode = settings.mode.is_none_or(|mode| mode <= most_mode(spec));
    let stays = settings.is_enabled() || spec["optOut"] != "Deny";
    budget && least && most && mode && stays
}

/// As the resource definition has it: nobody can be bound by a policy that nothing is within.
fn is_consistent(policy: &BudgetPolicySpec) -> bool {
    let (budget, cpu) = (&policy.budget, &policy.cpu);
    let least_cpu = cpu.min_per_pod.map(MilliCpu::from);
    let most_cpu = cpu.max_per_pod.map(MilliCpu::from);
    budget
        .min
        .zip(budget.max)
        .is_none_or(|(min, max)| min <= max)
        && least_cpu.zip(most_cpu).is_none_or(|(min, max)| min <= max)
}

fn most_mode(spec: &Json) -> Mode {
    match spec["mode"].as_str() {
        Some("observe") => Mode::Observe,
        Some("recommend") => Mode::Recommend,
        _ => Mode::Auto,
    }
}

/// Whether what an update takes away leaves the pod within the bounds.
fn within_without(gone: &[&str], spec: &Json) -> bool {
    let has = |path: &str| spec.pointer(path).is_some();
    gone.iter().all(|key| match *key {
        "mbcas.budget" => {
            let default = Annotations::from([("mbcas.budget".to_owned(), "100".to_owned())]);
            within(&default, spec)
        }
        "mbcas.minCPU" => !has("/cpu/minPerPod"),
        "mbcas.maxCPU" => !has("/cpu/maxPerPod"),
        "mbcas.mode" => most_mode(spec) == Mode::Auto,
        _ => true,
    })
}

#[test]
fn a_new_pod_is_refused_exactly_if_it_is_out_of_bounds() {
    let policy = Policy::load("bounds");
    let outcome = TestRunner::new(cases(SETS)).run(
        &(annotations(250_000_000), spec()),
        |(annotations, spec)| {
            let mut request = Request::create(pod(&annotations));
            request.params = json!({"metadata": {"name": "default"}, "spec": spec});
            let verdict = policy.judge(&request);
            // Whatever is written, it can be evaluated: an error would let it through.
            prop_assert!(!matches!(verdict, Verdict::Error(_)), "{:?}", verdict);
            let Ok(settings) = Settings::parse(&annotations) else {
                return Ok(());
            };
            let denied = matches!(verdict, Verdict::Denied(_));
            prop_assert_eq!(denied, !within(&annotations, &spec), "{:?}", verdict);
            // The webhook says the same, but of a pod that opts out: it is bound by nothing there. Here it is, as it
            // may come back without any of these being changed.
            if let Ok(written) = BudgetPolicySpec::deserialize(&spec)
                && is_consistent(&written)
            {
                let namespace = Namespace::with_policy("shop", written);
                let refused = !Allotment::within_bounds(&settings, None, &namespace)
                    .faults
                    .is_empty();
                let is_excepted = denied && settings.enabled == Some(false);
                prop_assert!(
                    denied == refused || is_excepted,
                    "{:?} {}",
                    verdict,
                    refused
                );
            }
            Ok(())
        },
    );
    outcome.unwrap();
}

#[test]
fn an_update_is_held_to_the_bounds_only_in_what_it_changes() {
    let policy = Policy::load("bounds");
    let generated = (annotations(250_000_000), annotations(250_000_000), spec());
    let outcome = TestRunner::new(cases(SETS)).run(&generated, |(before, after, spec)| {
        let mut after = after;
        // Half of what was there stays as it was.
        after.extend(before.clone().into_iter().step_by(2));
        let mut request = Request::update(pod(&before), pod(&after));
        request.params = json!({"spec": spec});
        let verdict = policy.judge(&request);
        prop_assert!(!matches!(verdict, Verdict::Error(_)), "{:?}", verdict);
        let gone = before.keys().filter(|key| !after.contains_key(*key));
        let gone: Vec<_> = gone.map(String::as_str).collect();
        let mut changed = after.clone();
        changed.retain(|key, value| before.get(key) != Some(value));
        if Settings::parse(&changed).is_ok() {
            let denied = matches!(verdict, Verdict::Denied(_));
            let within = within(&changed, &spec) && within_without(&gone, &spec);
            prop_assert_eq!(denied, !within, "{:?}", verdict);
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn a_refusal_says_what_is_allowed_and_who_can_change_it() {
    let policy = Policy::load("bounds");
    let spec = json!({
        "budget": {"min": 10, "max": 200}, "cpu": {"minPerPod": "50m", "maxPerPod": "2"}, "optOut": "Deny",
        "onExceed": "Clamp", "mode": "recommend",
    });
    let refusal = |key: &str, value: &str| {
        let mut request = Request::create(pod(&Annotations::from([(
            key.to_owned(),
            value.to_owned(),
        )])));
        request.params = json!({ "spec": spec });
        match policy.judge(&request) {
            Verdict::Denied(messages) => messages.join("\n"),
            other => panic!("{other:?}"),
        }
    };
    let allowed = "which this namespace's BudgetPolicy allows. Write";
    for (key, value, says) in [
        (
            "mbcas.budget",
            "201",
            "mbcas.budget: \"201\" is not between 10 and 200, ",
        ),
        (
            "mbcas.budget",
            "9",
            "mbcas.budget: \"9\" is not between 10 and 200, ",
        ),
        (
            "mbcas.minCPU",
            "0.049",
            "mbcas.minCPU: \"49m\" is not between 50m and 2, ",
        ),
        (
            "mbcas.minCPU",
            "2001m",
            "mbcas.minCPU: \"2001m\" is not between 50m and 2, ",
        ),
        (
            "mbcas.maxCPU",
            "2.5",
            "mbcas.maxCPU: \"2500m\" is not between 50m and 2, ",
        ),
        (
            "mbcas.maxCPU",
            "40m",
            "mbcas.maxCPU: \"40m\" is not between 50m and 2, ",
        ),
    ] {
        let message = refusal(key, value);
        assert!(
            message.starts_with(&format!("{says}{allowed}")),
            "{message}"
        );
        assert!(
            message.ends_with("or ask whoever administers the policy."),
            "{message}"
        );
    }
    assert!(refusal("mbcas.enabled", "false").contains("Remove mbcas.enabled"));
    assert!(refusal("mbcas.mode", "auto").contains("which allows observe, recommend."));
}

#[test]
fn pods_are_never_blocked_for_want_of_the_resource_definition() {
    assert_eq!(Policy::load("bounds").spec.failure_policy, "Ignore");
}

/// `kubectl annotate pod web mbcas.budget- mbcas.maxCPU- mbcas.mode-`, the last of its annotations.
#[test]
fn what_admission_wrote_for_the_policy_cannot_be_taken_away() {
    let policy = Policy::load("bounds");
    let spec = json!({"budget": {"max": 20}, "cpu": {"minPerPod": "50m", "maxPerPod": "500m"}, "mode": "recommend"});
    for (key, value) in [
        ("mbcas.budget", "10"),
        ("mbcas.minCPU", "50m"),
        ("mbcas.maxCPU", "500m"),
        ("mbcas.mode", "recommend"),
    ] {
        let before = Annotations::from([(key.to_owned(), value.to_owned())]);
        let mut request = Request::update(pod(&before), pod(&Annotations::new()));
        request.params = json!({ "spec": spec });
        let verdict = policy.judge(&request);
        assert!(matches!(verdict, Verdict::Denied(_)), "{key}: {verdict:?}");
        request.params = json!({ "spec": {} });
        assert_eq!(policy.judge(&request), Verdict::Allowed, "{key}");
    }
}
