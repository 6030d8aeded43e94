//! The policy of annotations refuses what the webhook refuses, and nothing else.

use std::cell::Cell;

use mbcas_core::annotations::{KEYS, SLO};
use mbcas_webhook::{Decision, Namespace, admit};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value as Json, json};

use super::generate::{defaulted, pod};
use super::{Policy, Request, SETS, Verdict, cases};

fn pod_with(annotations: &Json) -> Json {
    json!({
        "metadata": {"name": "web", "annotations": annotations},
        "spec": {"containers": [{"name": "app", "resources": {"requests": {"cpu": "50m"}}}]},
    })
}

fn refusal(policy: &Policy, annotations: &Json) -> Vec<String> {
    match policy.judge(&Request::create(pod_with(annotations))) {
        Verdict::Denied(messages) => messages,
        other => panic!("{other:?}"),
    }
}

#[test]
fn policy_and_webhook_refuse_the_same_pods() {
    let policy = Policy::load("annotations");
    let operator = crate::policy();
    let (denied, allowed, timed) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let outcome = TestRunner::new(cases(SETS)).run(&pod(), |pod| {
        let webhook = admit(&pod, &operator, &Namespace::default())
            .unwrap()
            .decision;
        let verdict = policy.judge(&Request::create(defaulted(&pod)));
        match (&webhook, &verdict) {
            (Decision::Deny(..), Verdict::Denied(_)) => denied.update(|n: u32| n + 1),
            (Decision::Inject | Decision::Skip(_), Verdict::Allowed) => {
                allowed.update(|n: u32| n + 1);
                let has_slo = pod["metadata"]["annotations"].get(SLO).is_some();
                timed.update(|n: u32| n + u32::from(has_slo));
            }
            _ => prop_assert!(false, "webhook: {webhook:?}\npolicy: {verdict:?}"),
        }
        Ok(())
    });
    outcome.unwrap();
    // Nothing is shown by pods that are all refused, or all let through.
    let (denied, allowed, timed) = (denied.get(), allowed.get(), timed.get());
    println!(
        "{denied} pods were refused by both, {allowed} by neither, {timed} of these with an objective"
    );
    assert!(
        denied > allowed / 4 && allowed > denied / 4,
        "{denied} refused, {allowed} not"
    );
    assert!(
        timed > allowed / 50,
        "{timed} of {allowed} with an objective"
    );
}

#[test]
fn it_knows_every_key_and_no_other() {
    let policy = Policy::load("annotations");
    for key in KEYS {
        let messages = refusal(&policy, &json!({key: "no value of any key"}));
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert!(
            messages[0].starts_with(&format!("{key}: \"no value of any key\" ")),
            "{messages:?}"
        );
    }
    let messages = refusal(&policy, &json!({"mbcas.bugdet": "300"}));
    let known = messages[0]
        .split_once("It has ")
        .unwrap()
        .1
        .trim_end_matches('.')
        .replace(" and ", ", ");
    assert_eq!(known.split(", ").collect::<Vec<_>>(), KEYS, "{messages:?}");
    assert!(
        messages[0].starts_with("MBCAS has no annotation mbcas.bugdet. "),
        "{messages:?}"
    );
}

#[test]
fn messages_repeat_what_was_written_and_stay_short() {
    let policy = Policy::load("annotations");
    let long = "\u{e4}".repeat(10_000);
    for key in KEYS {
        let message = &refusal(&policy, &json!({key: long}))[0];
        assert!(
            message.contains(&format!("{key}: \"{}...\"", "\u{e4}".repeat(60))),
            "{message}"
        );
        assert!(message.chars().count() < 200, "{message}");
        // One of several lines gives way to the fixed message.
        let message = &refusal(&policy, &json!({key: "a\nb"}))[0];
        assert!(
            message.starts_with(key) && message.ends_with('.'),
            "{message}"
        );
    }
    let unknown = format!("mbcas.{long}");
    assert!(refusal(&policy, &json!({unknown: ""}))[0].chars().count() < 300);
    let crossed = refusal(
        &policy,
        &json!({"mbcas.minCPU": "300m", "mbcas.maxCPU": "200m"}),
    );
    assert_eq!(
        crossed,
        ["mbcas.minCPU: \"300m\" is greater than mbcas.maxCPU: \"200m\""]
    );
}

#[test]
fn nothing_is_let_through_where_it_cannot_be_evaluated() {
    assert_eq!(Policy::load("annotations").spec.failure_policy, "Fail");
}

/// More than 2^64 millicores is no request to us, and the policy refuses the
/// pod: the one known difference, on pods that no node will ever run.
#[test]
fn a_request_beyond_all_machines_is_refused_by_the_policy_alone() {
    let mut pod = pod_with(&json!({"mbcas.maxCPU": "1"}));
    for cpu in ["1E", "1e30", "1e100000000"] {
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!(cpu);
        let verdict = Policy::load("annotations").judge(&Request::create(pod.clone()));
        assert!(matches!(verdict, Verdict::Denied(_)), "{cpu}: {verdict:?}");
    }
}

/// A mesh's proxy that another webhook put first, after us.
#[test]
fn a_cap_is_held_against_the_container_that_takes_part() {
    let policy = Policy::load("annotations");
    let record = r#"{"version":1,"participant":"app","containers":{"app":{"request":"50m"}}}"#;
    let mut pod = pod_with(&json!({"mbcas.maxCPU": "80m", "mbcas.dev/original": record}));
    let proxy = json!({"name": "linkerd-proxy", "resources": {"requests": {"cpu": "100m"}}});
    pod["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .insert(0, proxy);
    assert_eq!(
        policy.judge(&Request::create(pod.clone())),
        Verdict::Allowed
    );
    pod["metadata"]["annotations"]
        .as_object_mut()
        .unwrap()
        .remove("mbcas.dev/original");
    let verdict = policy.judge(&Request::create(pod));
    assert!(matches!(verdict, Verdict::Denied(_)), "{verdict:?}");
}
