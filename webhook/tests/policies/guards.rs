//! The guards: who may label a namespace, write its policy, and resize what the market resizes.

use k8s_openapi::api::core::v1::Pod;
use mbcas_api::participant::chosen;
use mbcas_core::annotations::Settings;
use serde_json::{Value as Json, json};

use super::policy::RELEASE;
use super::{Policy, Request, Verdict};

/// Whether `policy` refuses `request`, and every grant in `useless` does not help.
fn refuses(policy: &Policy, request: &Request, useless: &[&'static str]) -> bool {
    let mut request = request.clone();
    request.grants.extend(useless);
    match policy.judge(&request) {
        Verdict::Denied(_) => true,
        Verdict::Allowed | Verdict::Unseen => false,
        Verdict::Error(why) => panic!("{why}: {request:?}"),
    }
}

fn account(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

mod namespaces {
    use super::*;

    const OTHERS: [&str; 3] = [
        "mbcas.dev/injectionlabels/get",
        "mbcas.dev/resizeoverrides/use",
        "example.org/injectionlabels/use",
    ];

    fn namespace(label: Option<&str>) -> Json {
        let mut labels = json!({"kubernetes.io/metadata.name": "team"});
        if let Some(label) = label {
            labels["mbcas-injection"] = json!(label);
        }
        json!({"metadata": {"name": "team", "labels": labels}})
    }

    #[test]
    fn our_label_is_changed_by_those_who_may() {
        let policy = Policy::load("guard-namespaces");
        let states = [None, Some("enabled"), Some("disabled"), Some("")];
        for before in states {
            for after in states {
                let mut request = Request::update(namespace(before), namespace(after));
                let changes = before != after;
                assert_eq!(
                    refuses(&policy, &request, &OTHERS),
                    changes,
                    "{before:?} became {after:?}"
                );
                request.grants = vec!["mbcas.dev/injectionlabels/use"];
                assert!(!refuses(&policy, &request, &[]));
            }
        }
        for label in states {
            let request = Request::create(namespace(label));
            assert_eq!(
                refuses(&policy, &request, &OTHERS),
                label.is_some(),
                "{label:?}"
            );
        }
    }

    #[test]
    fn nothing_else_about_a_namespace_is_looked_at() {
        let policy = Policy::load("guard-namespaces");
        let bare = json!({"metadata": {"name": "team"}});
        let other = json!({"metadata": {"name": "team", "labels": {"a": "b"}, "annotations": {"mbcas-injection": "enabled"}}});
        for (before, after) in [
            (bare.clone(), other.clone()),
            (other.clone(), bare.clone()),
            (namespace(Some("enabled")), {
                let mut labelled = namespace(Some("enabled"));
                labelled["metadata"]["labels"]["team"] = json!("blue");
                labelled["metadata"]["finalizers"] = json!(["example.org/x"]);
                labelled
            }),
        ] {
            assert_eq!(
                policy.judge(&Request::update(before, after)),
                Verdict::Unseen
            );
        }
        assert_eq!(policy.judge(&Request::create(other)), Verdict::Unseen);
        assert_eq!(policy.judge(&Request::create(bare)), Verdict::Unseen);
    }
}

mod budget_policies {
    use super::*;

    const OTHERS: [&str; 3] = [
        "mbcas.dev/budgetpolicies/update",
        "mbcas.dev/injectionlabels/use",
        "example.org/budgetpolicies/administer",
    ];

    fn write(operation: &'static str) -> Request {
        let policy = json!({"metadata": {"name": "default"}, "spec": {}});
        let old = if operation == "CREATE" {
            Json::Null
        } else {
            policy.clone()
        };
        let new = if operation == "DELETE" {
            Json::Null
        } else {
            policy
        };
        Request {
            operation,
            ..Request::update(old, new)
        }
    }

    #[test]
    fn they_are_written_by_those_who_administer_them() {
        let policy = Policy::load("guard-budgetpolicies");
        for operation in ["CREATE", "UPDATE", "DELETE"] {
            let mut request = write(operation);
            assert!(refuses(&policy, &request, &OTHERS), "{operation}");
            request.grants = vec!["mbcas.dev/budgetpolicies/administer"];
            assert!(!refuses(&policy, &request, &[]), "{operation}");
        }
    }

    #[test]
    fn the_status_is_the_controllers() {
        let policy = Policy::load("guard-budgetpolicies");
        let mut request = write("UPDATE");
        request.subresource = Some("status");
        assert!(refuses(
            &policy,
            &request,
            &["mbcas.dev/budgetpolicies/administer"]
        ));
        for (user, refused) in [
            (account(RELEASE, "mbcas-controller"), false),
            (account(RELEASE, "mbcas-webhook"), true),
            (account("team", "mbcas-controller"), true),
        ] {
            request.user = user;
            assert_eq!(refuses(&policy, &request, &[]), refused, "{}", request.user);
        }
        request.subresource = None;
        request.user = account(RELEASE, "mbcas-controller");
        assert!(
            refuses(&policy, &request, &[]),
            "the controller may write no spec"
        );
    }

    #[test]
    fn the_clusters_own_controllers_go_on() {
        let policy = Policy::load("guard-budgetpolicies");
        let mut request = write("DELETE");
        for name in ["namespace-controller", "generic-garbage-collector"] {
            request.user = account("kube-system", name);
            request.groups = vec![
                "system:serviceaccounts".to_owned(),
                "system:serviceaccounts:kube-system".to_owned(),
            ];
            assert_eq!(policy.judge(&request), Verdict::Unseen);
        }
        request.groups.clear();
        request.user = "system:kube-controller-manager".to_owned();
        assert_eq!(policy.judge(&request), Verdict::Unseen);
        // A name alone is nobody's.
        request.user = account("kube-system-x", "namespace-controller");
        request.groups = vec!["system:serviceaccounts:kube-system-x".to_owned()];
        assert!(refuses(&policy, &request, &[]));
    }
}

mod resizes {
    use super::*;

    const OTHERS: [&str; 3] = [
        "mbcas.dev/resizeoverrides/get",
        "mbcas.dev/budgetpolicies/administer",
        "mbcas.dev/injectionlabels/use",
    ];

    /// A participant: app takes part, web does not.
    fn pod() -> Json {
        let resources = |cpu: &str| json!({"requests": {"cpu": cpu, "memory": "64Mi"}, "limits": {"memory": "64Mi"}});
        json!({
            "metadata": {"name": "web", "annotations": {"mbcas.dev/original": "{}", "mbcas.dev/injection": "injected"}},
            "spec": {"containers": [
                {"name": "app", "resources": resources("100m")},
                {"name": "web", "resources": resources("200m")},
            ]},
        })
    }

    fn set(mut pod: Json, container: usize, list: &str, what: &str, value: &str) -> Json {
        pod["spec"]["containers"][container]["resources"][list][what] = json!(value);
        pod
    }

    fn resize(before: Json, after: Json) -> Request {
        Request {
            subresource: Some("resize"),
            ..Request::update(before, after)
        }
    }

    #[test]
    fn a_participants_cpu_is_the_markets() {
        let policy = Policy::load("guard-resize");
        for (list, cpu) in [("limits", "1"), ("requests", "50m")] {
            let mut request = resize(pod(), set(pod(), 0, list, "cpu", cpu));
            assert!(refuses(&policy, &request, &OTHERS), "{list}");
            for (user, refused) in [
                (account(RELEASE, "mbcas-controller"), false),
                (account(RELEASE, "mbcas-restore"), false),
                (account(RELEASE, "mbcas-dead-man"), false),
                (account(RELEASE, "mbcas-webhook"), true),
                (account("team", "mbcas-controller"), true),
                ("mbcas-controller".to_owned(), true),
            ] {
                request.user = user;
                assert_eq!(refuses(&policy, &request, &[]), refused, "{}", request.user);
            }
            request.grants = vec!["mbcas.dev/resizeoverrides/use"];
            assert!(!refuses(&policy, &request, &[]));
        }
        let Verdict::Denied(messages) =
            policy.judge(&resize(pod(), set(pod(), 0, "limits", "cpu", "1")))
        else {
            panic!("it was let through");
        };
        assert!(
            messages[0].contains("container app") && messages[0].contains("mbcas.mode=recommend"),
            "{messages:?}"
        );
    }

    #[test]
    fn memory_and_other_containers_are_everybodys() {
        let policy = Policy::load("guard-resize");
        for after in [
            pod(),
            set(pod(), 0, "limits", "memory", "128Mi"),
            set(pod(), 1, "limits", "cpu", "1"),
        ] {
            assert_eq!(policy.judge(&resize(pod(), after)), Verdict::Allowed);
        }
    }

    #[test]
    fn the_guarded_container_is_the_one_that_the_controller_resizes() {
        let policy = Policy::load("guard-resize");
        let record = r#"{"version":1,"participant":"web","containers":{"app":{},"web":{}}}"#;
        let default = "kubectl.kubernetes.io/default-container";
        for (annotations, participant) in [
            (json!({}), 0),
            (json!({default: "web"}), 1),
            (json!({default: "app", "mbcas.dev/original": record}), 1),
            (
                json!({default: "app", "mbcas.dev/original": record, "mbcas.container": "app"}),
                0,
            ),
            (json!({"mbcas.container": "web"}), 1),
        ] {
            let mut before = pod();
            for (key, value) in annotations.as_object().unwrap() {
                before["metadata"]["annotations"][key] = value.clone();
            }
            let typed: Pod = serde_json::from_value(before.clone()).unwrap();
            let annotations = typed.metadata.annotations.as_ref().unwrap();
            let settings = Settings::parse(annotations).unwrap();
            let containers = &typed.spec.as_ref().unwrap().containers;
            let chosen = chosen(containers, &settings, annotations).unwrap();
            assert_eq!(chosen.name, containers[participant].name, "{annotations:?}");
            for index in [0, 1] {
                let after = set(before.clone(), index, "limits", "cpu", "1");
                let refused = refuses(&policy, &resize(before.clone(), after), &[]);
                assert_eq!(refused, index == participant, "{annotations:?}");
            }
        }
    }

    #[test]
    fn the_pod_as_a_whole_is_guarded_too() {
        let policy = Policy::load("guard-resize");
        let before = pod();
        for (list, refused) in [("requests", true), ("limits", true)] {
            let mut after = before.clone();
            after["spec"]["resources"] = json!({list: {"cpu": "4"}});
            assert_eq!(
                refuses(&policy, &resize(before.clone(), after), &[]),
                refused,
                "{list}"
            );
        }
        let mut after = before.clone();
        after["spec"]["resources"] = json!({"limits": {"memory": "1Gi"}});
        assert!(!refuses(&policy, &resize(before, after), &[]));
    }

    #[test]
    fn who_is_not_resized_by_the_market_is_not_guarded() {
        let policy = Policy::load("guard-resize");
        for (key, value, guarded) in [
            ("mbcas.enabled", json!("true"), true),
            ("mbcas.enabled", json!("false"), false),
            ("mbcas.mode", json!("auto"), true),
            ("mbcas.mode", json!("recommend"), false),
            ("mbcas.mode", json!("observe"), false),
        ] {
            let mut before = pod();
            before["metadata"]["annotations"][key] = value;
            let request = resize(before.clone(), set(before.clone(), 0, "limits", "cpu", "1"));
            assert_eq!(refuses(&policy, &request, &[]), guarded, "{key}");
        }
        let mut bystander = pod();
        bystander["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("annotations");
        let request = resize(bystander.clone(), set(bystander, 0, "limits", "cpu", "1"));
        assert_eq!(policy.judge(&request), Verdict::Unseen);
    }
}

#[test]
fn a_guard_that_cannot_be_evaluated_keeps_the_gate_shut() {
    for name in ["guard-namespaces", "guard-budgetpolicies", "guard-resize"] {
        assert_eq!(Policy::load(name).spec.failure_policy, "Fail", "{name}");
    }
}
