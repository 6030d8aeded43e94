use serde_json::{Value, json};

use super::*;
use crate::admit::tests::policy;
use crate::review::ReviewError;

fn review(kind: &str, object: &Value) -> Result<Review<Workload>, ReviewError> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u", "kind": {"group": "apps", "version": "v1", "kind": kind}, "operation": "CREATE",
                    "namespace": "shop", "object": object},
    });
    Review::parse(review.to_string().as_bytes())
}

fn template(annotations: &Value, resources: &Value) -> Value {
    json!({
        "metadata": {"annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": "i", "resources": resources}]},
    })
}

fn said(kind: &str, object: &Value) -> Vec<String> {
    warnings(
        &review(kind, object).unwrap(),
        &policy(),
        &Namespace::default(),
    )
    .unwrap()
}

#[test]
fn a_bad_template_is_told_where_it_was_typed() {
    let bad = template(
        &json!({"mbcas.budget": "lots", "mbcas.modus": "auto"}),
        &json!({"requests": {"cpu": "1"}}),
    );
    for kind in [
        "Deployment",
        "StatefulSet",
        "DaemonSet",
        "ReplicaSet",
        "Job",
    ] {
        let said = said(
            kind,
            &json!({"metadata": {"name": "web"}, "spec": {"template": bad}}),
        );
        assert_eq!(said.len(), 2, "{said:?}");
        let start = format!(
            "mbcas: the pods of this {kind} will be refused: annotation mbcas.budget=\"lots\""
        );
        assert!(said[0].starts_with(&start), "{said:?}");
    }
    let cron = json!({"metadata": {}, "spec": {"jobTemplate": {"spec": {"template": bad}}}});
    assert_eq!(said("CronJob", &cron).len(), 2);
}

#[test]
fn a_template_that_takes_no_part_is_told_why_and_a_good_one_nothing() {
    let of = |resources: Value| {
        said(
            "Deployment",
            &json!({"spec": {"template": template(&json!({}), &resources)}}),
        )
    };
    assert_eq!(
        of(json!({"requests": {"cpu": "100m"}})),
        Vec::<String>::new()
    );
    let best_effort = of(json!({}));
    assert!(
        best_effort[0]
            .starts_with("mbcas: in the pods of this Deployment, the pod has no requests"),
        "{best_effort:?}"
    );
}

#[test]
fn a_workload_of_a_workload_is_silent_and_so_is_one_without_a_template() {
    let bad = template(&json!({"mbcas.budget": "lots"}), &json!({}));
    let owners = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u", "controller": true}]);
    let object = json!({"metadata": {"ownerReferences": owners}, "spec": {"template": bad}});
    assert_eq!(said("ReplicaSet", &object), Vec::<String>::new());
    assert_eq!(
        said("Deployment", &json!({"spec": {}})),
        Vec::<String>::new()
    );
    let odd = review(
        "Deployment",
        &json!({"spec": {"template": {"spec": {"containers": "none"}}}}),
    );
    assert!(odd.is_err());
}
