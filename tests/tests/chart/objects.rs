//! What holds for every object, whatever the values are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::renders::{self, Render};
use crate::support::{NAMESPACE, find, list, name, rendered, text, workspace};

/// Every object of every set, with the name of the set.
fn everything() -> impl Iterator<Item = (&'static Render, &'static Value)> {
    renders::all()
        .iter()
        .flat_map(|render| render.objects.iter().map(move |object| (render, object)))
}

/// The pod in an object, if it holds one.
fn pod(object: &Value) -> Option<&Value> {
    match object["kind"].as_str()? {
        "Pod" => Some(object),
        "Deployment" | "Job" => Some(&object["spec"]["template"]),
        _ => None,
    }
}

#[test]
fn no_webhook_fails_closed_or_keeps_the_api_server_waiting() {
    let mut seen = BTreeSet::new();
    for (render, object) in everything() {
        for webhook in list(&object["webhooks"]) {
            seen.insert(webhook["name"].as_str().unwrap());
            let what = format!("{}: {}", render.set, webhook["name"]);
            assert_eq!(webhook["failurePolicy"], "Ignore", "{what}");
            assert_eq!(webhook["timeoutSeconds"], 2, "{what}");
            assert_eq!(webhook["matchPolicy"], "Equivalent", "{what}");
            let sides = webhook["sideEffects"].as_str().unwrap();
            let writes = webhook["name"] == "audit.mbcas.dev";
            assert_eq!(
                sides,
                if writes { "NoneOnDryRun" } else { "None" },
                "{what}"
            );
            for rule in list(&webhook["rules"]) {
                assert_eq!(rule["scope"], "Namespaced", "{what}");
                assert!(!rule.to_string().contains('*'), "{what}: {rule}");
            }
        }
    }
    assert_eq!(
        seen,
        BTreeSet::from(["inject.mbcas.dev", "workloads.mbcas.dev", "audit.mbcas.dev"])
    );
}

#[test]
fn the_trust_is_rendered_only_where_it_was_provided() {
    for render in renders::all() {
        let provided = render.objects.iter().any(|object| {
            object["kind"] == "Deployment" && object.to_string().contains("\"secretName\":\"tls\"")
        }) && !render
            .objects
            .iter()
            .any(|object| object["kind"] == "Certificate");
        for webhook in render
            .objects
            .iter()
            .flat_map(|object| list(&object["webhooks"]))
        {
            let bundle = webhook["clientConfig"].get("caBundle");
            assert_eq!(
                bundle.is_some(),
                provided,
                "{}: {}",
                render.set,
                webhook["name"]
            );
        }
    }
}

#[test]
fn cert_manager_signs_the_name_that_is_called_and_fills_in_both_configurations() {
    let objects = rendered(&["--set", "certificates.mode=cert-manager"]);
    let certificate = find(&objects, "Certificate", "mbcas-webhook");
    assert_eq!(
        certificate["spec"]["dnsNames"],
        json!([format!("mbcas-webhook.{NAMESPACE}.svc")])
    );
    let secret = &certificate["spec"]["secretName"];
    let pod = &find(&objects, "Deployment", "mbcas-webhook")["spec"]["template"]["spec"];
    assert_eq!(
        pod["volumes"],
        json!([{"name": "certificate", "secret": {"secretName": secret}}])
    );
    // The whole directory: a single file of a Secret is never updated.
    let mounts = &pod["containers"][0]["volumeMounts"];
    assert_eq!(
        mounts,
        &json!([{"name": "certificate", "mountPath": "/etc/mbcas/tls", "readOnly": true}])
    );
    for (kind, called) in [
        ("MutatingWebhookConfiguration", "00-mbcas"),
        ("ValidatingWebhookConfiguration", "mbcas"),
    ] {
        let annotations = &find(&objects, kind, called)["metadata"]["annotations"];
        assert_eq!(
            annotations["cert-manager.io/inject-ca-from"],
            format!("{NAMESPACE}/mbcas-webhook")
        );
    }
    let (authority, leaf) = (
        find(&objects, "Certificate", "mbcas-webhook-authority"),
        &certificate["spec"]["issuerRef"],
    );
    assert_eq!(leaf["name"], "mbcas-webhook-authority");
    // A new key would have to be learnt by the API server while the old one is still in use.
    assert_eq!(authority["spec"]["privateKey"]["rotationPolicy"], "Never");
}

#[test]
fn every_pod_of_ours_passes_pod_security_restricted() {
    for (render, object) in everything() {
        let Some(pod) = pod(object) else { continue };
        let what = format!("{}: {}", render.set, name(object));
        let spec = &pod["spec"];
        for absent in [
            "hostPID",
            "hostIPC",
            "initContainers",
            "ephemeralContainers",
        ] {
            assert_eq!(spec.get(absent), None, "{what}: {absent}");
        }
        for volume in list(&spec["volumes"]) {
            assert!(volume.get("secret").is_some(), "{what}: {volume}");
        }
        for container in list(&spec["containers"]) {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false, "{what}");
            assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}), "{what}");
            assert_eq!(security["runAsNonRoot"], true, "{what}");
            assert_eq!(security["readOnlyRootFilesystem"], true, "{what}");
            assert_eq!(
                security["seccompProfile"],
                json!({"type": "RuntimeDefault"}),
                "{what}"
            );
            assert_eq!(security.get("privileged"), None, "{what}");
            let openshift = render.text.contains("runAsUser");
            assert_eq!(security.get("runAsUser").is_some(), openshift, "{what}");
            assert!(
                container["resources"]["requests"].is_object()
                    || container["resources"]["limits"].is_object(),
                "{what}"
            );
            assert!(
                container["resources"]["limits"]["memory"].is_string(),
                "{what}"
            );
        }
    }
}

#[test]
fn openshift_chooses_the_user_and_everybody_else_gets_ours() {
    let users = |words: &[&str]| {
        rendered(words)
            .iter()
            .filter(|object| {
                pod(object).is_some_and(|pod| pod.to_string().contains("\"runAsUser\":65532"))
            })
            .count()
    };
    assert_eq!(users(&["--set", "openshift=true"]), 0);
    assert_eq!(users(&[]), 4, "webhook, controller, restore, test");
}

#[test]
fn every_pod_of_ours_stays_out_of_meshes_and_has_an_account_of_its_own() {
    for (render, object) in everything() {
        let Some(pod) = pod(object) else { continue };
        let what = format!("{}: {}", render.set, name(object));
        assert_eq!(
            pod["metadata"]["labels"]["sidecar.istio.io/inject"], "false",
            "{what}"
        );
        assert_eq!(
            pod["metadata"]["annotations"]["linkerd.io/inject"], "disabled",
            "{what}"
        );
        let account = find(
            &render.objects,
            "ServiceAccount",
            pod["spec"]["serviceAccountName"].as_str().unwrap(),
        );
        assert_eq!(account["automountServiceAccountToken"], false, "{what}");
        assert_eq!(pod["spec"]["automountServiceAccountToken"], true, "{what}");
        assert_eq!(
            account["metadata"]["name"], object["metadata"]["name"],
            "{what}"
        );
    }
}

#[test]
fn labels_of_the_user_reach_every_object_and_no_selector() {
    let words = [
        "--values",
        "chart/ci/everything-values.yaml",
        "--set",
        "commonLabels.mark=x,commonAnnotations.mark=y",
    ];
    for object in rendered(&words) {
        if object["metadata"]["labels"]
            .get("app.kubernetes.io/name")
            .is_none()
        {
            continue; // One of extraObjects.
        }
        let metadata = &object["metadata"];
        assert_eq!(metadata["labels"]["mark"], "x", "{}", name(&object));
        assert_eq!(metadata["annotations"]["mark"], "y", "{}", name(&object));
        assert_eq!(
            metadata["labels"]["app.kubernetes.io/part-of"],
            "mbcas",
            "{}",
            name(&object)
        );
        assert!(
            !object["spec"]["selector"].to_string().contains("mark"),
            "{}",
            name(&object)
        );
    }
}

#[test]
fn only_restoring_and_testing_are_hooks_and_both_can_be_left_out() {
    for (render, object) in everything() {
        let hook = &object["metadata"]["annotations"]["helm.sh/hook"];
        let component = &object["metadata"]["labels"]["app.kubernetes.io/component"];
        let expected = match (component.as_str(), object["kind"].as_str()) {
            (Some("restore"), Some("Job")) => json!("pre-delete"),
            (Some("test"), _) => json!("test"),
            _ => Value::Null,
        };
        assert_eq!(*hook, expected, "{}: {}", render.set, name(object));
    }
    let none = rendered(&["--set", "restore.enabled=false,tests.enabled=false"]);
    assert!(none.iter().all(|object| {
        object["metadata"]["annotations"]
            .get("helm.sh/hook")
            .is_none()
    }));
}

#[test]
fn a_replica_outlives_its_service_and_comes_before_the_old_one_goes() {
    let objects = rendered(&[]);
    let spec = &find(&objects, "Deployment", "mbcas-webhook")["spec"];
    let grace = Duration::from_secs(
        spec["template"]["spec"]["terminationGracePeriodSeconds"]
            .as_u64()
            .unwrap(),
    );
    assert!(
        grace > mbcas_webhook::serve::LINGER + mbcas_webhook::serve::DRAIN * 2,
        "{grace:?}"
    );
    assert_eq!(
        spec["strategy"]["rollingUpdate"],
        json!({"maxUnavailable": 0, "maxSurge": 1})
    );
    let objects = rendered(&["--set", "webhook.hostNetwork=true"]);
    let spec = &find(&objects, "Deployment", "mbcas-webhook")["spec"];
    assert_eq!(
        spec["strategy"]["rollingUpdate"],
        json!({"maxUnavailable": 1, "maxSurge": 0}),
        "two cannot have one port"
    );
}

#[test]
fn a_disruption_budget_is_there_only_where_it_can_be_kept() {
    for render in renders::all() {
        for object in render
            .objects
            .iter()
            .filter(|object| object["kind"] == "PodDisruptionBudget")
        {
            let deployment = find(
                &render.objects,
                "Deployment",
                object["metadata"]["name"].as_str().unwrap(),
            );
            assert!(
                deployment["spec"]["replicas"].as_u64().unwrap() > 1,
                "{}",
                render.set
            );
            assert_eq!(
                object["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow",
                "{}",
                render.set
            );
        }
    }
    assert_eq!(
        find(&rendered(&[]), "PodDisruptionBudget", "mbcas-webhook")["spec"]["maxUnavailable"],
        1
    );
}

#[test]
fn a_policy_outlives_the_release_unless_told_otherwise() {
    if !workspace().join("chart/files/budgetpolicies.yaml").exists() {
        return;
    }
    let kept = |words: &[&str]| {
        find(
            &rendered(words),
            "CustomResourceDefinition",
            "budgetpolicies.mbcas.dev",
        )["metadata"]["annotations"]["helm.sh/resource-policy"]
            .clone()
    };
    assert_eq!(kept(&[]), "keep");
    assert_eq!(kept(&["--set", "crds.keep=false"]), Value::Null);
    let none = rendered(&["--set", "crds.install=false"]);
    assert!(
        none.iter()
            .all(|object| object["kind"] != "CustomResourceDefinition")
    );
}

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
                let named = rule["resourceNames"].is_array() || rule["verbs"] == json!(["create"]);
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
        (text.contains("\"secrets\""), text.contains("\"resourceNames\":[\"00-mbcas\"],\"resources\":[\"mutatingwebhookconfigurations\"],\"verbs\":[\"patch\"]"))
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

#[test]
fn images_come_from_where_the_user_says() {
    let images = |words: &[&str]| -> BTreeSet<String> {
        let objects = rendered(words);
        let pods = objects.iter().filter_map(pod);
        pods.flat_map(|pod| list(&pod["spec"]["containers"]))
            .map(|c| c["image"].as_str().unwrap().to_owned())
            .collect()
    };
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        images(&[]),
        BTreeSet::from([format!("mbcas.local/mbcas:{version}")])
    );
    assert_eq!(
        images(&["--set", "image.tag=a"]),
        BTreeSet::from(["mbcas.local/mbcas:a".to_owned()])
    );
    let digest = format!("sha256:{}", "0".repeat(64));
    let pinned = images(&[
        "--set",
        &format!("image.tag=a,image.digest={digest},global.imageRegistry=r.example"),
    ]);
    assert_eq!(
        pinned,
        BTreeSet::from([format!("r.example/mbcas@{digest}")])
    );
}

#[test]
fn notes_say_what_comes_next_and_what_is_risky() {
    let template = text("chart/templates/NOTES.txt");
    for word in [
        "mbcas-injection=enabled",
        "rollout restart",
        "helm test",
        "webhook.replicas",
        "kubeletTLS",
    ] {
        assert!(template.contains(word), "{word}");
    }
}
