//! Who changed which budget: an Event for every change of a BudgetPolicy, and of
//! the `mbcas.*` annotations of a running pod.
//!
//! Admission is the only place that knows who asks. It lets everything pass, and
//! what it notes is that the change was asked for: another webhook may still
//! refuse it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ObjectReference;
use mbcas_core::annotations::{PREFIX, RESERVED_PREFIX};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::events::Note;
use crate::review::{Entries, Object, Review, called};

/// How many characters of a value are repeated.
const QUOTED: usize = 60;

/// How many of a user's name: the end of it may be what tells two apart.
const NAMED: usize = 256;

/// How many changes one note lists.
const LISTED: usize = 10;

/// The longest spec that is looked at. A BudgetPolicy's has some 500 bytes.
const LONGEST_SPEC: usize = 16 * 1024;

/// What is read of a BudgetPolicy or a pod. A spec stays text until a policy's is compared.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Audited {
    api_version: Option<String>,
    #[serde(default)]
    metadata: Metadata,
    spec: Option<Box<RawValue>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    generate_name: Option<String>,
    uid: Option<String>,
    #[serde(default)]
    annotations: Entries<String>,
}

impl Object for Audited {
    fn name(&self) -> &str {
        called([
            self.metadata.name.as_deref(),
            self.metadata.generate_name.as_deref(),
        ])
    }
}

impl Audited {
    fn spec(&self) -> Value {
        let text = self.spec.as_ref().map(|spec| spec.get());
        let text = text.filter(|text| text.len() <= LONGEST_SPEC);
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }
}

/// What is to be noted about `review`; nothing for a dry run, or where no budget changes.
pub fn note(review: &Review<Audited>) -> Option<Note> {
    if review.is_dry_run {
        return None;
    }
    let (old, new) = (&review.old_object, &review.object);
    let changes = match review.kind.as_str() {
        "BudgetPolicy" => changes("spec", &old.spec(), &new.spec()),
        "Pod" => annotations(old, new),
        _ => return None,
    };
    let what = match review.operation.as_str() {
        "CREATE" => "created",
        "DELETE" => "deleted",
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

fn regarding(review: &Review<Audited>) -> ObjectReference {
    let object = if review.operation == "DELETE" {
        &review.old_object
    } else {
        &review.object
    };
    ObjectReference {
        api_version: object.api_version.clone(),
        kind: Some(review.kind.clone()),
        name: object.metadata.name.clone(),
        namespace: Some(review.namespace.clone()),
        uid: object.metadata.uid.clone(),
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
fn annotations(old: &Audited, new: &Audited) -> Vec<String> {
    let empty = BTreeMap::new();
    let old = old
        .metadata
        .annotations
        .as_ref()
        .map_or(&empty, |few| &few.0);
    let new = new
        .metadata
        .annotations
        .as_ref()
        .map_or(&empty, |few| &few.0);
    let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let ours = keys
        .into_iter()
        .filter(|key| key.starts_with(PREFIX) && !key.starts_with(RESERVED_PREFIX));
    ours.flat_map(|key| {
        let of = |map: &BTreeMap<String, String>| {
            map.get(key)
                .map_or(Value::Null, |text| text.as_str().into())
        };
        changes(&cut(key, QUOTED), &of(old), &of(new))
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
