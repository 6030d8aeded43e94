//! What holds for every object, whatever the values are.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::renders::{self, everything};
use crate::support::{Helm, NAMESPACE, find, list, name, output_of, rendered, workspace};

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
            let writes = webhook["name"] != "workloads.mbcas.dev";
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
        let has = |kind: &str| render.objects.iter().any(|object| object["kind"] == kind);
        let webhook = find(&render.objects, "Deployment", "mbcas-webhook").to_string();
        let provided = webhook.contains("\"value\":\"files\"") && !has("Certificate");
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

#[test]
fn notes_say_what_comes_next_and_what_is_risky() {
    let notes = |words: &[&str]| {
        let mut helm = Helm::Four.command();
        helm.args([
            "install",
            "mbcas",
            "./chart",
            "--namespace",
            NAMESPACE,
            "--dry-run=client",
        ]);
        let said = output_of(helm.args(words));
        said.split_once("NOTES:").unwrap().1.to_owned()
    };
    let usual = notes(&["--set", "image.registry=registry.example"]);
    for word in [
        "mbcas-injection=enabled",
        "rollout restart",
        "helm test mbcas --namespace mbcas-system",
    ] {
        assert!(usual.contains(word), "{word}: {usual}");
    }
    assert!(!usual.contains("To know"), "{usual}");
    for setting in [
        "webhook.replicas=1",
        "controller.replicas=0",
        "controller.kubeletTLS=insecure",
        "restore.enabled=false",
        "restore.deadMan.enabled=false",
        "guards.enabled=false",
        "webhook.hostNetwork=true",
        "crds.keep=false",
        "image.registry=mbcas.local",
    ] {
        let risky = notes(&["--set", "image.registry=registry.example", "--set", setting]);
        let told = risky.split_once("To know").map(|(_, told)| told);
        let key = setting.split('=').next().unwrap();
        assert!(
            told.is_some_and(|told| told.contains(key)),
            "{setting}: {risky}"
        );
    }
}
