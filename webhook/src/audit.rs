//! Who changed which budget: an Event for every change of a BudgetPolicy, and of
//! the `mbcas.*` annotations of a running pod.
//!
//! Admission is the only place that knows who asks. It lets everything pass, and
//! what it notes is that the change was asked for: another webhook may still
//! refuse it.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ObjectReference;
use mbcas_core::annotations::{PREFIX, RESERVED_PREFIX};
use serde_json::Value;

use crate::events::Note;
use crate::review::Review;

/// How many characters of a value are repeated.
const QUOTED: usize = 60;

/// How many of a user's name: the end of it may be what tells two apart.
const NAMED: usize = 256;

/// How many changes one note lists.
const LISTED: usize = 10;

/// What is to be noted about `review`; nothing for a dry run, or where no budget changes.
pub fn note(review: &Review) -> Option<Note> {
    if review.is_dry_run {
        return None;
    }
    let (old, new) = (&review.old_object, &review.object);
    let changes = match review.kind.as_str() {
        "BudgetPolicy" => changes("spec", &old["spec"], &new["spec"]),
        "Pod" => annotations(old, new),
        _ => return None,
    };
    let what = match (old.is_null(), new.is_null()) {
        (true, _) => "created",
        (_, true) => "deleted",
        _ if changes.is_empty() => return None,
        _ => "changed",
    };
    let more = changes.len().saturating_sub(LISTED);
    let mut listed = changes
        .into_iter()
        .take(LISTED)
        .collect::<Vec<_>>()
        .join(", ");
    if more > 0 {
        listed = format!("{listed} and {more} more");
    }
    let text = format!("{} {what} it: {listed}", cut(&review.user, NAMED));
    Some(Note {
        regarding: regarding(review),
        reason: "BudgetChanged",
        action: "Admit",
        text,
        is_warning: false,
        is_single: true,
    })
}

fn regarding(review: &Review) -> ObjectReference {
    let object = if review.object.is_null() {
        &review.old_object
    } else {
        &review.object
    };
    let text = |pointer| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    ObjectReference {
        api_version: text("/apiVersion"),
        kind: Some(review.kind.clone()),
        name: text("/metadata/name"),
        namespace: Some(review.namespace.clone()),
        uid: text("/metadata/uid"),
        ..ObjectReference::default()
    }
}

/// The leaves in which two values differ, each as `path: old → new`.
fn changes(path: &str, old: &Value, new: &Value) -> Vec<String> {
    if old == new {
        return Vec::new();
    }
    let empty = serde_json::Map::new();
    let fields = |value: &Value| value.as_object().cloned();
    if fields(old).is_some() || fields(new).is_some() {
        let (old, new) = (
            old.as_object().unwrap_or(&empty),
            new.as_object().unwrap_or(&empty),
        );
        let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
        let of = |map: &serde_json::Map<String, Value>, name: &str| {
            map.get(name).cloned().unwrap_or_default()
        };
        return names
            .into_iter()
            .flat_map(|name| changes(&format!("{path}.{name}"), &of(old, name), &of(new, name)))
            .collect();
    }
    vec![format!("{path}: {} → {}", shown(old), shown(new))]
}

/// As [`changes`], for the annotations of a pod that its users write.
fn annotations(old: &Value, new: &Value) -> Vec<String> {
    let of = |pod: &Value| {
        pod["metadata"]["annotations"]
            .as_object()
            .cloned()
            .unwrap_or_default()
    };
    let (old, new) = (of(old), of(new));
    let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let ours = keys
        .into_iter()
        .filter(|key| key.starts_with(PREFIX) && !key.starts_with(RESERVED_PREFIX));
    ours.flat_map(|key| {
        let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
        changes(&cut(key, QUOTED), &of(&old), &of(&new))
    })
    .collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        value => cut(&value.to_string(), QUOTED),
    }
}

/// A text of somebody else's, as a note may repeat it: without control characters, and cut.
fn cut(text: &str, most: usize) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let shown: String = clean.clone().take(most).collect();
    let more = if clean.count() > most { "…" } else { "" };
    format!("{shown}{more}")
}

#[cfg(test)]
mod tests;
