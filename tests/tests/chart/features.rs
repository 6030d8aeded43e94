//! What charts of this kind have, each a part of it: all of it is here, in one.

use serde_json::Value;

use crate::support::{list, name, rendered, text, workspace};

/// A part of the chart by which a feature shows, in what `everything-values.yaml` renders.
type Shows = fn(&[Value]) -> bool;

/// Whether there is an object of `kind` of which `holds`.
fn some(objects: &[Value], kind: &str, holds: impl Fn(&Value) -> bool) -> bool {
    let mut of_kind = objects.iter().filter(|object| object["kind"] == kind);
    of_kind.any(holds)
}

fn any(objects: &[Value], kind: &str) -> bool {
    some(objects, kind, |_| true)
}

/// How many files are in `folder`.
fn files(folder: &str) -> usize {
    let entries = std::fs::read_dir(workspace().join(folder)).unwrap();
    entries.count()
}

const FEATURES: [(&str, Shows); 17] = [
    ("a schema of the values", |_| {
        text("chart/values.schema.json").contains("\"additionalProperties\": false")
    }),
    ("helm test", |objects| {
        some(objects, "Pod", |pod| {
            pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
        })
    }),
    ("unit tests", |_| files("tests/tests/chart") > 10),
    ("worked values in ci/", |_| files("chart/ci") > 10),
    ("PodDisruptionBudget", |objects| {
        any(objects, "PodDisruptionBudget")
    }),
    ("spread over nodes and zones", |objects| {
        let keys = ["kubernetes.io/hostname", "topology.kubernetes.io/zone"];
        let deployments = objects
            .iter()
            .filter(|object| object["kind"] == "Deployment");
        deployments.clone().count() == 2
            && deployments.into_iter().all(|deployment| {
                let spread = &deployment["spec"]["template"]["spec"]["topologySpreadConstraints"];
                let spread: Vec<_> = list(spread).iter().map(|c| &c["topologyKey"]).collect();
                spread == keys
            })
    }),
    ("NetworkPolicy", |objects| any(objects, "NetworkPolicy")),
    ("ServiceMonitor", |objects| any(objects, "ServiceMonitor")),
    ("PodMonitor", |objects| any(objects, "PodMonitor")),
    ("PrometheusRule", |objects| any(objects, "PrometheusRule")),
    ("Grafana dashboard", |objects| {
        any(objects, "GrafanaDashboard")
            && some(objects, "ConfigMap", |map| {
                map["metadata"]["labels"]["grafana_dashboard"] == "1"
            })
    }),
    ("objects of the user's", |objects| {
        some(objects, "ConfigMap", |map| {
            map["metadata"]["name"] == "mbcas-extra"
        })
    }),
    ("images by digest", |_| {
        let pinned = rendered(&["--values", "chart/ci/pinned-values.yaml"]);
        let deployments = pinned
            .iter()
            .filter(|object| object["kind"] == "Deployment");
        deployments.clone().count() == 2
            && deployments.into_iter().all(|deployment| {
                let pod = &deployment["spec"]["template"]["spec"];
                list(&pod["containers"])
                    .iter()
                    .all(|container| container["image"].to_string().contains("@sha256:"))
            })
    }),
    ("cert-manager", |objects| {
        any(objects, "Certificate") && any(objects, "Issuer")
    }),
    ("match conditions", |objects| {
        let webhooks = objects.iter().flat_map(|object| list(&object["webhooks"]));
        let webhooks: Vec<_> = webhooks.collect();
        webhooks.len() == 3
            && webhooks
                .iter()
                .all(|webhook| !list(&webhook["matchConditions"]).is_empty())
    }),
    ("a priority level at the API server", |objects| {
        any(objects, "FlowSchema") && any(objects, "PriorityLevelConfiguration")
    }),
    ("annotations of Artifact Hub", |_| {
        let chart: Value = serde_saphyr::from_str(&text("chart/Chart.yaml")).unwrap();
        let has = |key: &&str| chart["annotations"][format!("artifacthub.io/{key}")].is_string();
        let keys = [
            "license",
            "category",
            "changes",
            "images",
            "crds",
            "crdsExamples",
            "containsSecurityUpdates",
            "prerelease",
        ];
        keys.iter().all(has)
    }),
];

#[test]
fn all_seventeen_are_in_one_chart() {
    let objects = rendered(&["--values", "chart/ci/everything-values.yaml"]);
    let missing: Vec<_> = FEATURES
        .iter()
        .filter(|(_, shows)| !shows(&objects))
        .map(|(feature, _)| feature)
        .collect();
    let names: Vec<_> = objects.iter().map(name).collect();
    assert!(missing.is_empty(), "{missing:?} in {names:?}");
}
