//! The webhooks' match conditions, carried out by the same language as in the API server.

use kube_cel::KubeCelExt;
use kube_cel::cel::{Context, Program, Value as Cel, to_value};
use serde_json::{Value, json};

use crate::matcher::{Asked, Request, asked};
use crate::renders;
use crate::support::{find, rendered};

/// Whether a condition holds for a request.
pub(crate) fn holds(expression: &str, request: &Request) -> Result<bool, String> {
    let mut context = Context::default().with_all();
    let (resource, subresource) = request
        .resource
        .split_once('/')
        .unwrap_or((request.resource, ""));
    let mut asked = json!({
        "operation": request.operation,
        "resource": {"group": request.group, "version": request.version, "resource": resource},
        "userInfo": {"username": "somebody", "groups": request.groups},
    });
    if !subresource.is_empty() {
        asked["subResource"] = json!(subresource);
    }
    for (name, value) in [
        ("request", &asked),
        ("object", &request.object),
        ("oldObject", &request.old),
    ] {
        context.add_variable_from_value(name, to_value(value).map_err(|why| why.to_string())?);
    }
    let program = Program::compile(expression).map_err(|why| why.to_string())?;
    match program
        .execute(&context)
        .map_err(|why| format!("{expression}: {why}"))?
    {
        Cel::Bool(holds) => Ok(holds),
        other => Err(format!("{expression}: {other:?} is neither true nor false")),
    }
}

fn labelled() -> Value {
    json!({"kubernetes.io/metadata.name": "shop", "mbcas-injection": "enabled"})
}

fn request(operation: &'static str, resource: &'static str, object: Value, old: Value) -> Request {
    let group = match resource {
        "budgetpolicies" => "mbcas.dev",
        "jobs" | "cronjobs" => "batch",
        "pods" => "",
        _ => "apps",
    };
    let version = if group == "mbcas.dev" {
        "v1alpha1"
    } else {
        "v1"
    };
    Request {
        operation,
        group,
        version,
        resource,
        namespace: Some(labelled()),
        object,
        old,
        groups: vec!["system:authenticated"],
    }
}

fn entry<'a>(all: &'a [Asked<'a>], name: &str) -> &'a Asked<'a> {
    all.iter().find(|asked| asked.name.ends_with(name)).unwrap()
}

fn annotated(annotations: &Value) -> Value {
    json!({"metadata": {"name": "a", "annotations": annotations}})
}

#[test]
fn injection_is_asked_about_every_pod_that_no_kubelet_mirrors() {
    let objects = rendered(&[]);
    let all = asked(&objects);
    let inject = entry(&all, "inject.mbcas.dev");
    let mirror = annotated(&json!({"kubernetes.io/config.mirror": "hash"}));
    let mut pod = request("CREATE", "pods", mirror, Value::Null);
    assert!(
        inject.is_asked_about(&pod),
        "a tenant that writes the annotation must not get past us"
    );
    pod.groups = vec!["system:nodes", "system:authenticated"];
    assert!(!inject.is_asked_about(&pod));
    // It takes part without an agent, so it must come.
    let host = json!({"metadata": {"name": "a"}, "spec": {"hostNetwork": true}});
    assert!(inject.is_asked_about(&request("CREATE", "pods", host, Value::Null)));
    // It is validated all the same.
    let out = annotated(&json!({"mbcas.enabled": "false"}));
    assert!(inject.is_asked_about(&request("CREATE", "pods", out.clone(), Value::Null)));
    assert!(!inject.is_asked_about(&request("UPDATE", "pods", out.clone(), out)));
}

#[test]
fn warnings_go_to_people_and_only_when_a_spec_changes() {
    let objects = rendered(&[]);
    let all = asked(&objects);
    let workloads = entry(&all, "workloads.mbcas.dev");
    let of = |owner: Value, replicas: u32| json!({"metadata": {"name": "a", "ownerReferences": owner}, "spec": {"replicas": replicas}});
    let controlled = || json!([{"kind": "Deployment", "name": "a", "controller": true}]);
    for resource in [
        "deployments",
        "statefulsets",
        "daemonsets",
        "replicasets",
        "jobs",
        "cronjobs",
    ] {
        let plain = || json!({"metadata": {"name": "a"}, "spec": {"replicas": 1}});
        assert!(
            workloads.is_asked_about(&request("CREATE", resource, plain(), Value::Null)),
            "{resource}"
        );
        let mine = of(json!([{"kind": "Application", "name": "a"}]), 1);
        assert!(
            workloads.is_asked_about(&request("CREATE", resource, mine, Value::Null)),
            "{resource}"
        );
        let made = of(controlled(), 1);
        assert!(
            !workloads.is_asked_about(&request("CREATE", resource, made, Value::Null)),
            "{resource}"
        );
        let more = of(json!([]), 2);
        assert!(
            workloads.is_asked_about(&request("UPDATE", resource, more, plain())),
            "{resource}"
        );
        assert!(
            !workloads.is_asked_about(&request("UPDATE", resource, plain(), plain())),
            "{resource}"
        );
    }
}

#[test]
fn the_audit_hears_of_policies_and_of_changed_annotations_and_of_nothing_else() {
    let objects = rendered(&[]);
    let all = asked(&objects);
    let audit = entry(&all, "audit.mbcas.dev");
    let policy = || json!({"metadata": {"name": "default"}, "spec": {}});
    for (operation, object, old) in [
        ("CREATE", policy(), Value::Null),
        ("UPDATE", policy(), policy()),
        ("DELETE", Value::Null, policy()),
    ] {
        assert!(
            audit.is_asked_about(&request(operation, "budgetpolicies", object, old)),
            "{operation}"
        );
    }
    let bare = || json!({"metadata": {"name": "a"}});
    for (object, old, asked) in [
        (bare(), bare(), false),
        (annotated(&json!({"a": "1"})), bare(), false),
        (
            annotated(&json!({"a": "1"})),
            annotated(&json!({"a": "2", "b": "3"})),
            false,
        ),
        (annotated(&json!({"mbcas.budget": "1"})), bare(), true),
        (
            annotated(&json!({"mbcas.budget": "1"})),
            annotated(&json!({"mbcas.budget": "1"})),
            false,
        ),
        (
            annotated(&json!({"mbcas.budget": "1", "a": "1"})),
            annotated(&json!({"mbcas.budget": "1"})),
            false,
        ),
        (
            annotated(&json!({"mbcas.budget": "2"})),
            annotated(&json!({"mbcas.budget": "1"})),
            true,
        ),
        (bare(), annotated(&json!({"mbcas.budget": "1"})), true),
        (
            annotated(&json!({"mbcas.dev/original": "x"})),
            annotated(&json!({"mbcas.dev/original": "y"})),
            true,
        ),
    ] {
        let update = request("UPDATE", "pods", object, old);
        assert_eq!(
            audit.is_asked_about(&update),
            asked,
            "{} from {}",
            update.object,
            update.old
        );
    }
}

/// What it makes of them is watched on the cluster: `record::what_an_author_writes_in_our_name_is_taken_away`.
#[test]
fn a_new_pod_that_speaks_in_our_name_is_looked_at_and_no_other() {
    let objects = rendered(&["--kube-version", "1.36.0"]);
    let all = asked(&objects);
    let guard = entry(&all, "mbcas-guard-record ");
    let create =
        |annotations: Value| request("CREATE", "pods", annotated(&annotations), Value::Null);
    for (annotations, is_asked) in [
        (json!({"mbcas.dev/original": "x"}), true),
        (json!({"a": "b", "mbcas.dev/": "x"}), true),
        (
            json!({"mbcas.budget": "600", "mbcas.development": "x"}),
            false,
        ),
        (json!({}), false),
    ] {
        let asked = guard.is_asked_about(&create(annotations.clone()));
        assert_eq!(asked, is_asked, "{annotations}");
    }
    let ours = || annotated(&json!({"mbcas.dev/original": "x"}));
    assert!(!guard.is_asked_about(&request("UPDATE", "pods", ours(), ours())));
    let bare = json!({"metadata": {"name": "a"}});
    assert!(!guard.is_asked_about(&request("CREATE", "pods", bare, Value::Null)));
    let policy = find(&objects, "MutatingAdmissionPolicy", "mbcas-guard-record");
    // Nothing slips through, and what the webhook writes stays when all are asked again.
    assert_eq!(policy["spec"]["failurePolicy"], "Fail");
    assert_eq!(policy["spec"]["reinvocationPolicy"], "Never");
}

#[test]
fn no_condition_errs_on_an_object_that_has_nothing() {
    let nothing = || json!({"metadata": {"name": "a"}, "spec": {}});
    for render in renders::all() {
        for asked in asked(&render.objects) {
            for resource in ["pods", "deployments", "budgetpolicies"] {
                asked.is_asked_about(&request("CREATE", resource, nothing(), Value::Null));
                asked.is_asked_about(&request("UPDATE", resource, nothing(), nothing()));
            }
        }
    }
}
