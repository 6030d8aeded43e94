//! Who may do what.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::renders;
use crate::support::{NAMESPACE, find, list, name, rendered, workspace};

/// Rules of every role, by the role's name.
fn rules(objects: &[Value]) -> BTreeMap<String, &[Value]> {
    let roles = objects
        .iter()
        .filter(|object| object["kind"] == "ClusterRole" || object["kind"] == "Role");
    roles
        .map(|role| (name(role), list(&role["rules"])))
        .collect()
}

#[test]
fn every_rule_of_a_role_says_what_it_is_for() {
    let mut files = vec![workspace().join("chart/templates")];
    let mut silent = Vec::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(
                std::fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        // Webhooks have rules too; they are no roles'.
        if !text.contains("kind: Role") && !text.contains("kind: ClusterRole") {
            continue;
        }
        let lines: Vec<_> = text.lines().map(str::trim_start).collect();
        let rules = lines
            .windows(2)
            .filter(|pair| pair[1].starts_with("- apiGroups:"));
        silent.extend(
            rules
                .filter(|pair| !pair[0].starts_with('#'))
                .map(|pair| format!("{}: {}", path.display(), pair[1])),
        );
    }
    assert!(
        silent.is_empty(),
        "no comment above:\n{}",
        silent.join("\n")
    );
}

#[test]
fn roles_name_what_they_allow_and_our_processes_may_neither_delete_nor_grant() {
    for render in renders::all() {
        for (role, rules) in rules(&render.objects) {
            for rule in rules {
                let what = format!("{}: {role}: {rule}", render.set);
                for key in ["apiGroups", "resources", "verbs"] {
                    assert!(list(&rule[key]).iter().all(|value| value != "*"), "{what}");
                }
                let grants = [
                    "escalate",
                    "bind",
                    "impersonate",
                    "deletecollection",
                    "delete",
                ];
                let admin = role == "ClusterRole mbcas-admin";
                let forbidden = list(&rule["verbs"])
                    .iter()
                    .any(|verb| grants.iter().any(|word| verb == word));
                assert!(admin || !forbidden, "{what}");
                // A Secret or a configuration only by its name; create cannot have one.
                let named =
                    !list(&rule["resourceNames"]).is_empty() || rule["verbs"] == json!(["create"]);
                let sensitive = list(&rule["resources"]).iter().any(|resource| {
                    let resource = resource.as_str().unwrap();
                    resource == "secrets" || resource.ends_with("webhookconfigurations")
                });
                assert!(named || !sensitive, "{what}");
            }
        }
    }
}

#[test]
fn a_webhook_that_is_given_its_certificate_may_not_make_one() {
    let may = |words: &[&str]| {
        let objects = rendered(words);
        let rules = rules(&objects);
        let all = rules
            .iter()
            .filter(|(role, _)| role.ends_with(" mbcas-webhook"))
            .flat_map(|(_, rules)| *rules);
        let text: String = all.map(Value::to_string).collect();
        (
            text.contains("\"secrets\""),
            text.contains("\"mutatingwebhookconfigurations\""),
        )
    };
    assert_eq!(may(&[]), (true, true));
    assert_eq!(
        may(&["--set", "certificates.mode=cert-manager"]),
        (false, false)
    );
}

#[test]
fn the_administrators_role_is_bound_to_nobody_and_contained_in_nothing() {
    for render in renders::all() {
        let bindings = render
            .objects
            .iter()
            .filter(|object| object["roleRef"].is_object());
        for binding in bindings {
            assert_ne!(binding["roleRef"]["name"], "mbcas-admin", "{}", render.set);
            for subject in list(&binding["subjects"]) {
                assert_eq!(
                    (&subject["kind"], &subject["namespace"]),
                    (&json!("ServiceAccount"), &json!(NAMESPACE))
                );
            }
        }
        let admin = find(&render.objects, "ClusterRole", "mbcas-admin");
        assert!(
            !admin["metadata"]["labels"]
                .to_string()
                .contains("aggregate"),
            "{}",
            render.set
        );
    }
    let objects = rendered(&[]);
    let view = find(&objects, "ClusterRole", "mbcas-view");
    assert_eq!(
        view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"],
        "true"
    );
    assert_eq!(view["rules"][0]["verbs"], json!(["get", "list", "watch"]));
}

/// A rule without a source lets everybody in.
#[test]
fn metrics_that_nobody_may_read_are_open_to_nobody() {
    let words = [
        "--set-json",
        r#"networkPolicy={"enabled":true,"metricsFrom":[]}"#,
    ];
    let objects = rendered(&words);
    let mut policies = objects.iter().filter(|o| o["kind"] == "NetworkPolicy");
    let open = |policy: &Value| {
        let rules = policy["spec"]["ingress"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        rules.iter().any(|rule| rule["ports"][0]["port"] == 9464)
    };
    assert!(policies.all(|policy| !open(policy)));
    assert!(
        rendered(&["--set", "networkPolicy.enabled=true"])
            .iter()
            .any(open)
    );
}
