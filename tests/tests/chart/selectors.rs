//! Nothing of ours is ever asked about what a cluster needs to come up.

use serde_json::{Value, json};

use crate::matcher::{Request, asked};
use crate::renders;
use crate::support::NAMESPACE;

/// What is stored without a namespace, or in one that is never ours to ask about.
const RESOURCES: [(&str, &str, &str); 14] = [
    ("", "v1", "pods"),
    ("", "v1", "pods/status"),
    ("", "v1", "pods/resize"),
    ("", "v1", "pods/eviction"),
    ("", "v1", "services"),
    ("", "v1", "endpoints"),
    ("", "v1", "secrets"),
    ("", "v1", "configmaps"),
    ("apps", "v1", "deployments"),
    ("apps", "v1", "daemonsets"),
    ("batch", "v1", "jobs"),
    ("coordination.k8s.io", "v1", "leases"),
    ("events.k8s.io", "v1", "events"),
    ("mbcas.dev", "v1alpha1", "budgetpolicies"),
];

const CLUSTER: [(&str, &str, &str); 7] = [
    ("", "v1", "nodes"),
    ("", "v1", "nodes/status"),
    ("", "v1", "persistentvolumes"),
    ("rbac.authorization.k8s.io", "v1", "clusterroles"),
    (
        "admissionregistration.k8s.io",
        "v1",
        "mutatingwebhookconfigurations",
    ),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
    ("certificates.k8s.io", "v1", "certificatesigningrequests"),
];

const OPERATIONS: [&str; 4] = ["CREATE", "UPDATE", "DELETE", "CONNECT"];

fn requests<'a>(
    resources: &'a [(&'static str, &'static str, &'static str)],
    namespace: Option<&'a Value>,
) -> impl Iterator<Item = Request> + 'a {
    resources.iter().flat_map(move |(group, version, resource)| {
        OPERATIONS.iter().map(move |operation| {
            let object = json!({"metadata": {"name": "a", "annotations": {"mbcas.budget": "1"}}, "spec": {"containers": []}});
            Request {
                operation, group, version, resource, namespace: namespace.cloned(),
                old: if *operation == "CREATE" { Value::Null } else { json!({"metadata": {"name": "a"}}) },
                object: if *operation == "DELETE" { Value::Null } else { object },
                groups: vec!["system:authenticated"],
            }
        })
    })
}

/// Labelled as taking part, which somebody will do.
fn labels(name: &str) -> Value {
    json!({"kubernetes.io/metadata.name": name, "mbcas-injection": "enabled"})
}

#[test]
fn nothing_is_asked_about_the_clusters_own_namespaces_or_ours() {
    for render in renders::all() {
        for asked in asked(&render.objects) {
            for namespace in ["kube-system", "kube-public", "kube-node-lease", NAMESPACE] {
                for request in requests(&RESOURCES, Some(&labels(namespace))) {
                    // Who may write one is asked everywhere: inside the API server, about an object of ours.
                    let guarded = request.group == "mbcas.dev"
                        && asked.name.starts_with("ValidatingAdmissionPolicy ");
                    assert!(
                        guarded || !asked.selects(&request),
                        "{}: {} is asked about {} {} in {namespace}",
                        render.set,
                        asked.name,
                        request.operation,
                        request.resource
                    );
                }
            }
        }
    }
}

#[test]
fn nothing_is_asked_about_nodes_or_anything_else_without_a_namespace() {
    for render in renders::all() {
        for asked in asked(&render.objects) {
            for request in requests(&CLUSTER, None) {
                assert!(
                    !asked.selects(&request),
                    "{}: {} is asked about {} {}",
                    render.set,
                    asked.name,
                    request.operation,
                    request.resource
                );
            }
        }
    }
}

#[test]
fn nothing_is_asked_about_leases_anywhere() {
    let lease = [("coordination.k8s.io", "v1", "leases")];
    for render in renders::all() {
        for asked in asked(&render.objects) {
            for namespace in [labels("shop"), labels("kube-node-lease")] {
                assert!(
                    requests(&lease, Some(&namespace)).all(|request| !asked.selects(&request)),
                    "{}",
                    asked.name
                );
            }
        }
    }
}

/// A policy that guards a label has to look at namespaces; only at those whose label of ours changes.
#[test]
fn a_namespace_passes_unseen_unless_its_label_of_ours_changes() {
    let namespace = |labels: Value| json!({"metadata": {"name": "a", "labels": labels}, "spec": {"finalizers": ["kubernetes"]}});
    let change = |operation, resource, labels: Value, old: Option<Value>| Request {
        operation,
        group: "",
        version: "v1",
        resource,
        namespace: Some(labels.clone()),
        object: if operation == "DELETE" {
            Value::Null
        } else {
            namespace(labels)
        },
        old: old.map_or(Value::Null, namespace),
        groups: vec!["system:authenticated"],
    };
    for render in renders::all() {
        for asked in asked(&render.objects) {
            for name in ["kube-system", "shop", NAMESPACE] {
                let plain = || json!({"kubernetes.io/metadata.name": name});
                let more = || json!({"kubernetes.io/metadata.name": name, "team": "a"});
                for request in [
                    change("CREATE", "namespaces", plain(), None),
                    change("UPDATE", "namespaces", more(), Some(plain())),
                    change("UPDATE", "namespaces/status", plain(), Some(plain())),
                    change("UPDATE", "namespaces/finalize", plain(), Some(more())),
                    change("DELETE", "namespaces", plain(), Some(plain())),
                ] {
                    assert!(
                        !asked.is_asked_about(&request),
                        "{}: {} is asked about {} of {name}",
                        render.set,
                        asked.name,
                        request.operation
                    );
                }
            }
        }
    }
}

#[test]
fn pods_of_a_namespace_that_takes_part_are_asked_about() {
    let objects = crate::support::rendered(&[]);
    let all = asked(&objects);
    let pod = [("", "v1", "pods")];
    for (name, labels, expected) in [
        ("shop", labels("shop"), true),
        (
            "another",
            json!({"kubernetes.io/metadata.name": "another"}),
            false,
        ),
        (
            "refusing",
            json!({"kubernetes.io/metadata.name": "refusing", "mbcas-injection": "disabled"}),
            false,
        ),
    ] {
        let create = requests(&pod, Some(&labels))
            .find(|request| request.operation == "CREATE")
            .unwrap();
        for asked in all.iter().filter(|asked| {
            asked.name.contains("inject.mbcas.dev") || asked.name.contains("mbcas-annotations")
        }) {
            assert_eq!(
                asked.is_asked_about(&create),
                expected,
                "{} in {name}",
                asked.name
            );
        }
    }
}
