use serde_json::json;

use super::*;

fn review(kind: &str, old: &Value, new: &Value, dry: bool) -> Review<Audited> {
    let operation = match (old.is_null(), new.is_null()) {
        (true, _) => "CREATE",
        (_, true) => "DELETE",
        _ => "UPDATE",
    };
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u", "kind": {"group": "", "version": "v1", "kind": kind}, "operation": operation,
                    "namespace": "shop", "object": new, "oldObject": old, "dryRun": dry,
                    "userInfo": {"username": "alice"}},
    });
    Review::parse(review.to_string().as_bytes()).unwrap()
}

fn text(kind: &str, old: &Value, new: &Value) -> Option<String> {
    note(&review(kind, old, new, false)).map(|note| note.text)
}

fn pod(annotations: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "uid": "p", "annotations": annotations}})
}

#[test]
fn a_changed_budget_is_noted_with_who_and_what() {
    let (old, new) = (
        pod(&json!({"mbcas.budget": "100", "team": "a"})),
        pod(
            &json!({"mbcas.budget": "600", "mbcas.mode": "auto", "team": "b", "mbcas.dev/injection": "x"}),
        ),
    );
    let note = note(&review("Pod", &old, &new, false)).unwrap();
    assert_eq!(
        note.text,
        r#"alice changed it: mbcas.budget: "100" → "600", mbcas.mode: none → "auto""#
    );
    assert_eq!(
        (
            note.reason,
            note.regarding.name.as_deref(),
            note.regarding.uid.as_deref()
        ),
        ("BudgetChanged", Some("web-1"), Some("p"))
    );
    assert_eq!(note.regarding.namespace.as_deref(), Some("shop"));
}

#[test]
fn a_policys_life_is_noted() {
    let policy = |total: u64| json!({"metadata": {"name": "default"}, "spec": {"budget": {"total": total, "max": 9}}});
    assert_eq!(
        text("BudgetPolicy", &policy(1), &policy(2)).as_deref(),
        Some("alice changed it: spec.budget.total: 1 → 2")
    );
    assert!(
        text("BudgetPolicy", &Value::Null, &policy(1))
            .unwrap()
            .starts_with("alice created it: spec.budget.max: none → 9")
    );
    assert!(
        text("BudgetPolicy", &policy(1), &Value::Null)
            .unwrap()
            .starts_with("alice deleted it: ")
    );
    assert_eq!(text("BudgetPolicy", &policy(1), &policy(1)), None);
}

#[test]
fn dry_runs_and_what_is_no_budget_are_not_noted() {
    let (old, new) = (
        pod(&json!({"mbcas.budget": "1"})),
        pod(&json!({"mbcas.budget": "2"})),
    );
    assert!(note(&review("Pod", &old, &new, true)).is_none());
    assert!(text("Pod", &old, &old).is_none());
    assert!(text("Pod", &pod(&json!({"a": "1"})), &pod(&json!({"a": "2"}))).is_none());
    assert!(text("ConfigMap", &old, &new).is_none());
}

#[test]
fn what_tenants_write_is_cut_and_cleaned() {
    let old = pod(&json!({}));
    let mut many = serde_json::Map::new();
    for index in 0..30 {
        many.insert(format!("mbcas.x{index:02}"), json!("v".repeat(500)));
    }
    many.insert("mbcas.\u{1b}[31m".to_owned(), json!("\n"));
    let text = text("Pod", &old, &pod(&many.into())).unwrap();
    assert!(text.ends_with("and 21 more"), "{text}");
    assert!(
        text.len() < 1_500 && !text.chars().any(char::is_control),
        "{text}"
    );
}
