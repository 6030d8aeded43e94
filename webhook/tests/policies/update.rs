//! Updates: what the policy of annotations looks at, and what it keeps as it is.

use std::collections::BTreeMap;

use mbcas_core::annotations::Settings;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value as Json, json};

use super::generate::{Annotations, annotations};
use super::{Policy, Request, SETS, Verdict, cases};

/// Annotations before an update and after it.
fn change() -> impl Strategy<Value = (Annotations, Annotations)> {
    let kept = proptest::collection::vec(any::<bool>(), 8);
    (
        annotations(250_000_000),
        annotations(250_000_000),
        kept,
        0..4_u8,
    )
        .prop_map(|(before, other, kept, kind)| {
            let partly = || {
                before
                    .clone()
                    .into_iter()
                    .zip(kept.iter().chain(std::iter::repeat(&true)))
            };
            let after = match kind {
                0 => before.clone(),
                1 => partly()
                    .filter(|(_, kept)| **kept)
                    .map(|(pair, _)| pair)
                    .collect(),
                2 => before.clone().into_iter().chain(other).collect(),
                _ => other,
            };
            (before, after)
        })
}

fn pod(annotations: &Annotations) -> Json {
    // A pod without annotations has no such field.
    let annotations = (!annotations.is_empty()).then_some(annotations);
    let mut metadata = json!({"name": "web"});
    if let Some(annotations) = annotations {
        metadata["annotations"] = json!(annotations);
    }
    json!({"metadata": metadata, "spec": {"containers": [{"name": "app"}]}})
}

fn under<'a>(all: &'a Annotations, prefix: &str) -> BTreeMap<&'a str, &'a str> {
    let ours = all.iter().filter(|(key, _)| key.starts_with(prefix));
    ours.map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

/// What the update is to be told, in Rust.
fn expected(before: &Annotations, after: &Annotations) -> &'static str {
    if under(before, "mbcas.") == under(after, "mbcas.") {
        return "unseen";
    }
    let container =
        Settings::parse(after).is_ok_and(|s| s.container.is_none_or(|name| name == "app"));
    let kept = under(before, "mbcas.dev/") == under(after, "mbcas.dev/");
    let takes_part = before.contains_key("mbcas.dev/original");
    // An empty name is refused wherever it comes in, so one that goes is no name that goes.
    let named = |all: &Annotations| all.get("mbcas.container").cloned().unwrap_or_default();
    let same = named(before) == named(after);
    if container && kept && (same || !takes_part) {
        "allowed"
    } else {
        "denied"
    }
}

#[test]
fn an_update_is_seen_only_if_an_annotation_of_ours_changes() {
    let policy = Policy::load("annotations");
    let outcome = TestRunner::new(cases(SETS)).run(&change(), |(before, after)| {
        let verdict = policy.judge(&Request::update(pod(&before), pod(&after)));
        let said = match verdict {
            Verdict::Unseen => "unseen",
            Verdict::Allowed => "allowed",
            Verdict::Denied(_) => "denied",
            Verdict::Error(_) => "error",
        };
        prop_assert_eq!(said, expected(&before, &after), "{:?}", verdict);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn our_own_record_stays_as_it_is_on_a_running_pod() {
    let policy = Policy::load("annotations");
    let mine =
        |value: &str| Annotations::from([("mbcas.dev/original".to_owned(), value.to_owned())]);
    let none = Annotations::new();
    for (before, after) in [
        (&mine("1"), &mine("2")),
        (&mine("1"), &none),
        (&none, &mine("1")),
    ] {
        let Verdict::Denied(messages) = policy.judge(&Request::update(pod(before), pod(after)))
        else {
            panic!("{before:?} became {after:?}");
        };
        assert!(messages[0].contains("MBCAS's own record"), "{messages:?}");
    }
    assert_eq!(
        policy.judge(&Request::create(pod(&mine("1")))),
        Verdict::Allowed
    );
}

#[test]
fn the_container_that_takes_part_stays_the_same() {
    let policy = Policy::load("annotations");
    let pod = |container: Option<&str>, takes_part: bool| {
        let mut pod = json!({
            "metadata": {"name": "web", "annotations": {"a": "b"}},
            "spec": {"containers": [{"name": "app"}, {"name": "web"}]},
        });
        let annotations = &mut pod["metadata"]["annotations"];
        if let Some(name) = container {
            annotations["mbcas.container"] = json!(name);
        }
        if takes_part {
            annotations["mbcas.dev/original"] = json!("{}");
        }
        pod
    };
    for (before, after) in [
        (None, Some("web")),
        (Some("app"), Some("web")),
        (Some("app"), None),
    ] {
        let request = Request::update(pod(before, true), pod(after, true));
        let verdict = policy.judge(&request);
        assert!(
            matches!(verdict, Verdict::Denied(_)),
            "{before:?} {after:?}: {verdict:?}"
        );
        let request = Request::update(pod(before, false), pod(after, false));
        assert_eq!(policy.judge(&request), Verdict::Allowed);
    }
}
