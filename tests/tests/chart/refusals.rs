//! What helm refuses to render, and what it says then.

use serde_json::{Value, json};

use crate::support::{Helm, output_of, scratch, text};
use crate::values::schema_paths;

/// Schemas of objects whose keys are not ours to know.
const OPEN: [&str; 8] = [
    // An umbrella chart's globals reach every chart below it.
    "global",
    // Kubernetes' own terms, checked by Kubernetes.
    "webhook.affinity.nodeAffinity",
    "webhook.affinity.podAffinity",
    "webhook.affinity.podAntiAffinity",
    "controller.affinity.nodeAffinity",
    "controller.affinity.podAffinity",
    "controller.affinity.podAntiAffinity",
    // Whole objects.
    "extraObjects[]",
];

fn is_object(schema: &Value) -> bool {
    schema["type"] == "object"
        || schema["type"]
            .as_array()
            .is_some_and(|types| types.contains(&json!("object")))
}

#[test]
fn the_schema_closes_every_object_or_says_what_its_values_are() {
    for (path, schema) in schema_paths() {
        let closed =
            schema["additionalProperties"] == false || schema["additionalProperties"].is_object();
        let open = OPEN.contains(&path.as_str());
        assert!(!is_object(&schema) || closed != open, "{path:?}: {schema}");
    }
}

/// values.yaml with `change` made to it, as a file.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut values: Value = serde_saphyr::from_str(&text("chart/values.yaml")).unwrap();
    change(&mut values);
    let file = scratch("refusals").join(format!("{name}.json"));
    std::fs::write(&file, values.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn an_unknown_key_is_refused_by_name_at_every_level() {
    fn spoil(value: &mut Value, path: &str, spoilt: &mut Vec<String>) {
        let Some(map) = value.as_object_mut() else {
            return;
        };
        for (key, inner) in map.iter_mut() {
            spoil(
                inner,
                format!("{path}.{key}").trim_start_matches('.'),
                spoilt,
            );
        }
        let closed = schema_paths()
            .get(path)
            .is_some_and(|schema| schema["additionalProperties"] == false);
        if closed {
            map.insert(format!("nonsense{}", spoilt.len()), json!(1));
            spoilt.push(path.to_owned());
        }
    }
    let mut spoilt = Vec::new();
    let file = changed("unknown", |values| spoil(values, "", &mut spoilt));
    assert!(spoilt.len() > 25, "{spoilt:?}");
    for helm in Helm::BOTH {
        let said = helm.refusal(&["--values", &file]);
        for (number, path) in spoilt.iter().enumerate() {
            assert!(
                said.contains(&format!("nonsense{number}")),
                "{helm:?}: {path}.nonsense{number} was taken:\n{said}"
            );
        }
    }
}

#[test]
fn a_value_of_a_wrong_type_is_refused_wherever_it_is() {
    fn spoil(value: &mut Value, path: &str, spoilt: &mut Vec<String>) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, inner) in map {
                    // A dot in a key would look like one more level in what helm says.
                    if !key.contains('.') {
                        spoil(
                            inner,
                            format!("{path}.{key}").trim_start_matches('.'),
                            spoilt,
                        );
                    }
                }
            }
            Value::Array(_) | Value::Object(_) => *value = json!("text"),
            _ => *value = json!([true]),
        }
        if !value.is_object() {
            spoilt.push(path.to_owned());
        }
    }
    let mut spoilt = Vec::new();
    let file = changed("types", |values| spoil(values, "", &mut spoilt));
    assert!(spoilt.len() > 80, "{spoilt:?}");
    for helm in Helm::BOTH {
        let said = helm.refusal(&["--values", &file]);
        for path in &spoilt {
            assert!(
                said.contains(&format!("/{}", path.replace('.', "/"))),
                "{helm:?}: {path} may be anything:\n{said}"
            );
        }
    }
}

#[test]
fn an_impossible_value_is_refused_by_name() {
    for (setting, word) in [
        ("contrller.mode=auto", "contrller"),
        ("controller.mood=auto", "mood"),
        ("controller.mode=fast", "mode"),
        ("controller.intervalSeconds=1", "intervalSeconds"),
        ("controller.writes.perSecond=0", "perSecond"),
        ("controller.writes.burst=1001", "burst"),
        ("webhook.replicas=many", "replicas"),
        ("webhook.port=443", "port"),
        ("webhook.resources.limits.memory=lots", "memory"),
        ("image.digest=sha256:123", "digest"),
        ("image.tag=a/b", "tag"),
        ("certificates.mode=manual", "mode"),
        ("certificates.auto.duration=1m", "duration"),
        ("certificates.auto.duration=169h", "duration"),
        ("certificates.auto.duration=1h30m", "duration"),
        (
            "commonLabels.app\\.kubernetes\\.io/name=other",
            "app.kubernetes.io/name",
        ),
        (
            "webhook.podDisruptionBudget.maxUnavailable=0",
            "maxUnavailable",
        ),
    ] {
        for helm in Helm::BOTH {
            let said = helm.refusal(&["--set", setting]);
            assert!(said.contains(word), "{helm:?}, {setting}: {said}");
        }
    }
}

#[test]
fn contradictions_are_refused_with_a_way_out() {
    const PEM: &str =
        "certificates.caBundle=-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----";
    for (settings, words) in [
        (vec![PEM], "set certificates.mode=provided"),
        (
            vec!["certificates.mode=cert-manager", PEM],
            "set certificates.mode=provided",
        ),
        (
            vec!["certificates.secretName=tls"],
            "Remove certificates.secretName",
        ),
        (
            vec!["certificates.mode=provided"],
            "--set-file certificates.caBundle=ca.crt",
        ),
        (
            vec!["certificates.mode=provided", "certificates.secretName=tls"],
            "certificates.caBundle",
        ),
        (
            vec!["certificates.mode=provided", PEM],
            "certificates.secretName",
        ),
        (
            vec!["certificates.certManager.issuerRef.name=corp"],
            "set certificates.mode=cert-manager",
        ),
        (
            vec![
                "certificates.mode=cert-manager",
                "certificates.certManager.issuerRef.kind=Issuer",
            ],
            "has no name",
        ),
        (
            vec!["controller.kubeletTLS=caBundle"],
            "needs controller.kubeletCA.configMap",
        ),
        (
            vec!["controller.kubeletCA.configMap=kubelets"],
            "set controller.kubeletTLS=caBundle",
        ),
        (
            vec!["controller.prometheus.token.secret=reader"],
            "set controller.prometheus.url too",
        ),
        (
            vec!["controller.prometheus.url=https://prometheus:9090"],
            "needs controller.prometheus.ca.configMap",
        ),
        (
            vec!["controller.prometheus.url=prometheus:9090"],
            "controller/prometheus/url",
        ),
        (vec!["webhook.port=9464"], "metrics and probes"),
        (
            vec!["webhook.hostNetwork=true", "webhook.port=10250"],
            "the node's own kubelet",
        ),
        (
            vec!["agent.resources.limits.cpu=10m"],
            "as request and as limit",
        ),
        (
            vec!["monitoring.dashboard.operator.enabled=true"],
            "monitoring.dashboard.enabled=true",
        ),
    ] {
        let words_of_helm: Vec<_> = settings
            .iter()
            .flat_map(|setting| ["--set", setting])
            .collect();
        for helm in Helm::BOTH {
            let said = helm.refusal(&words_of_helm);
            assert!(said.contains(words), "{helm:?}, {settings:?}: {said}");
        }
    }
}

#[test]
fn the_clusters_own_namespaces_are_no_place_for_a_release_unless_asked_for() {
    for namespace in ["kube-system", "kube-public", "kube-node-lease"] {
        for helm in Helm::BOTH {
            let said = helm.refusal(&["--namespace", namespace]);
            assert!(
                said.contains("allowSystemNamespace=true") && said.contains(namespace),
                "{said}"
            );
            output_of(&mut helm.template(&[
                "--namespace",
                namespace,
                "--set",
                "allowSystemNamespace=true",
            ]));
        }
    }
}

#[test]
fn a_kubernetes_without_native_sidecars_and_resize_is_refused() {
    for helm in Helm::BOTH {
        let said = helm.refusal(&["--kube-version", "1.32.9"]);
        assert!(said.contains("1.33"), "{said}");
        output_of(&mut helm.template(&["--kube-version", "v1.33.1-gke.1000"]));
    }
}
