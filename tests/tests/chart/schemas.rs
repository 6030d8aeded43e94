//! Every object of every set against the API's own schemas, strictly.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::sets::CLUSTERS;
use crate::support::{name, text, workspace};
use crate::{renders, support};

/// The versions that the chart is for.
const VERSIONS: [&str; 5] = ["1.33", "1.34", "1.35", "1.36", "1.37"];

/// Kinds that no Kubernetes has by itself: their own projects' schemas would be needed.
const FOREIGN: [&str; 6] = [
    "Certificate (cert-manager.io/v1)",
    "GrafanaDashboard (grafana.integreatly.org/v1beta1)",
    "Issuer (cert-manager.io/v1)",
    "PodMonitor (monitoring.coreos.com/v1)",
    "PrometheusRule (monitoring.coreos.com/v1)",
    "ServiceMonitor (monitoring.coreos.com/v1)",
];

fn python() -> PathBuf {
    if let Some(path) = std::env::var_os("MBCAS_TEST_PYTHON") {
        return path.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let path = cache
        .unwrap()
        .join("mbcas/kubernetes-validate-1.37.0/bin/python");
    assert!(
        path.exists(),
        "{} is not there: deploy/prerequisites.sh chart, or set MBCAS_TEST_PYTHON",
        path.display()
    );
    path
}

/// What the schemas of `versions` say about `objects`: faults, and kinds that they lack.
fn judged(objects: &[&Value], versions: &[&str]) -> (Vec<String>, BTreeSet<String>) {
    let mut process = Command::new(python())
        .arg(workspace().join("tests/tests/chart/validate.py"))
        .args(versions)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin
        .write_all(serde_json::to_string(objects).unwrap().as_bytes())
        .unwrap();
    drop(stdin);
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "validate.py: {}", output.status);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let texts = |value: &Value| {
        support::list(value)
            .iter()
            .map(|v| v.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let checked = answer["checked"].as_u64().unwrap();
    let unknown: BTreeSet<_> = texts(&answer["unknown"]).into_iter().collect();
    println!(
        "{checked} checks of {} objects; no schema for {unknown:?}",
        objects.len()
    );
    (texts(&answer["faults"]), unknown)
}

#[test]
fn every_object_is_valid_on_every_version() {
    let foreign: BTreeSet<_> = FOREIGN.iter().map(|kind| (*kind).to_owned()).collect();
    for cluster in CLUSTERS {
        // Most sets have most objects in common.
        let mut unique: BTreeMap<String, &Value> = BTreeMap::new();
        let renders = renders::all()
            .iter()
            .filter(|render| render.cluster == cluster);
        for object in renders.flat_map(|render| &render.objects) {
            unique.insert(object.to_string(), object);
        }
        let objects: Vec<_> = unique.into_values().collect();
        let from = VERSIONS
            .iter()
            .position(|version| cluster.starts_with(version))
            .unwrap();
        let (faults, unknown) = judged(&objects, &VERSIONS[from..]);
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        assert_eq!(unknown, foreign, "kinds without a schema");
    }
}

#[test]
fn an_unknown_field_a_wrong_type_and_a_missing_one_are_found_on_every_version() {
    let service = |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": spec});
    for (object, word) in [
        (
            service(json!({"ports": [{"port": 443}], "selektor": {}})),
            "selektor",
        ),
        (service(json!({"ports": [{"port": "https"}]})), "integer"),
        (service(json!({"ports": [{"name": "https"}]})), "port"),
    ] {
        let (faults, _) = judged(&[&object], &VERSIONS);
        assert_eq!(faults.len(), VERSIONS.len(), "{faults:?}");
        assert!(
            faults.iter().all(|fault| fault.contains(word)),
            "{faults:?}"
        );
    }
}

#[test]
fn the_crds_that_the_chart_does_not_bring_are_named_in_its_documentation() {
    let install = text("docs/install.md");
    for render in renders::all() {
        for object in &render.objects {
            let group = object["apiVersion"]
                .as_str()
                .unwrap()
                .split('/')
                .next()
                .unwrap();
            let foreign = FOREIGN
                .iter()
                .any(|kind| kind.contains(&format!("({group}/")));
            assert!(
                !foreign || install.contains(group),
                "{}: docs/install.md does not say who serves {group}",
                name(object)
            );
        }
    }
}
