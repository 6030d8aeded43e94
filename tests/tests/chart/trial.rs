//! `helm test`: what it is told to read, it may read.

use serde_json::{Value, json};

use crate::support::{NAMESPACE, find, list, rendered};

/// The words that its pod is started with.
fn words(objects: &[Value]) -> Vec<&str> {
    let container = &find(objects, "Pod", "mbcas-test")["spec"]["containers"][0];
    let words = list(&container["command"])
        .iter()
        .chain(list(&container["args"]));
    words.map(|word| word.as_str().unwrap()).collect()
}

/// Whether the policy of that name lets its pod in at the port of metrics.
fn lets_in(objects: &[Value], policy: &str) -> bool {
    let spec = &find(objects, "NetworkPolicy", policy)["spec"];
    let labels = &find(objects, "Pod", "mbcas-test")["metadata"]["labels"];
    let rules = list(&spec["ingress"]).iter();
    let metrics = rules.filter(|rule| rule["ports"] == json!([{"protocol": "TCP", "port": 9464}]));
    metrics
        .flat_map(|rule| list(&rule["from"]))
        .any(|from| selects(from, labels))
}

/// Whether `from` selects pods with `labels` of the policy's own namespace, and not merely every pod.
fn selects(from: &Value, labels: &Value) -> bool {
    let wanted = from["podSelector"]["matchLabels"].as_object();
    from.get("namespaceSelector").is_none()
        && wanted.is_some_and(|wanted| {
            !wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value)
        })
}

#[test]
fn it_reads_metrics_where_anybody_may() {
    let reads = ["--metrics-of", NAMESPACE];
    let from = r#"networkPolicy={"enabled":true,"metricsFrom":[{"podSelector":{"matchLabels":{"app":"prometheus"}}}]}"#;
    for words_of_helm in [
        vec![],
        vec!["--set", "networkPolicy.enabled=true"],
        vec!["--set-json", from],
    ] {
        let objects = rendered(&words_of_helm);
        assert!(words(&objects).ends_with(&reads), "{:?}", words(&objects));
        let role = find(&objects, "Role", "mbcas-test-metrics");
        assert_eq!(role["metadata"]["namespace"], NAMESPACE);
        let grants = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]);
        assert_eq!(role["rules"], grants);
        find(&objects, "RoleBinding", "mbcas-test-metrics");
        if words_of_helm.is_empty() {
            continue;
        }
        assert!(lets_in(&objects, "mbcas-webhook") && lets_in(&objects, "mbcas-controller"));
        let out = &find(&objects, "NetworkPolicy", "mbcas-hooks")["spec"]["egress"];
        assert!(out.to_string().contains("9464"), "{out}");
    }
}

#[test]
fn it_does_not_try_where_nobody_may() {
    let nobody = r#"networkPolicy={"enabled":true,"metricsFrom":[]}"#;
    let objects = rendered(&["--set-json", nobody]);
    assert!(words(&objects).contains(&"--admission"));
    assert!(!words(&objects).contains(&"--metrics-of"));
    let texts: Vec<_> = objects.iter().map(Value::to_string).collect();
    assert!(!texts.iter().any(|text| text.contains("mbcas-test-metrics")));
}

#[test]
fn without_it_nobody_is_let_in_for_its_sake() {
    let off = ["--set", "networkPolicy.enabled=true,tests.enabled=false"];
    for policy in ["mbcas-webhook", "mbcas-controller", "mbcas-hooks"] {
        let objects = rendered(&off);
        let spec = find(&objects, "NetworkPolicy", policy)["spec"].clone();
        assert!(
            !spec["ingress"]
                .to_string()
                .contains("app.kubernetes.io/component"),
            "{spec}"
        );
        assert!(!spec["egress"].to_string().contains("9464"), "{spec}");
    }
}
