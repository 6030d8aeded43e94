//! The alerts: Prometheus takes them, they fire when they should, and each has a page to turn to.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::support::{find, list, output_of, rendered, scratch, text, workspace};

fn promtool() -> Command {
    let binary = std::env::var_os("MBCAS_TEST_PROMTOOL").unwrap_or_else(|| "promtool".into());
    let mut command = Command::new(binary);
    command.current_dir(workspace());
    command
}

fn rules(spec: &Value) -> Vec<&Value> {
    list(&spec["groups"])
        .iter()
        .flat_map(|group| list(&group["rules"]))
        .collect()
}

fn alerts() -> BTreeSet<String> {
    let spec: Value = serde_saphyr::from_str(&text("chart/files/alerts.yaml")).unwrap();
    rules(&spec)
        .iter()
        .map(|rule| rule["alert"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn they_fire_when_they_should_and_keep_quiet_when_all_is_well() {
    output_of(promtool().args(["test", "rules", "tests/tests/chart/alerts.yaml"]));
}

#[test]
fn each_is_tested() {
    let tests = text("tests/tests/chart/alerts.yaml");
    for alert in alerts() {
        let fires = tests
            .match_indices(&format!("alertname: {alert}\n"))
            .count();
        assert!(fires > 0, "no test sees {alert} fire");
    }
}

#[test]
fn what_the_chart_renders_is_what_prometheus_takes() {
    let objects = rendered(&[
        "--set",
        "monitoring.rules.enabled=true,monitoring.rules.runbookUrl=https://wiki.example/m",
    ]);
    let spec = &find(&objects, "PrometheusRule", "mbcas")["spec"];
    let file = scratch("alerts").join("rules.json");
    std::fs::write(&file, spec.to_string()).unwrap();
    output_of(promtool().args(["check", "rules"]).arg(&file));
    for rule in rules(spec) {
        let alert = rule["alert"].as_str().unwrap();
        assert_eq!(
            rule["annotations"]["runbook_url"],
            format!("https://wiki.example/m#{}", alert.to_lowercase())
        );
        assert!(rule["labels"]["severity"].is_string(), "{alert}");
        assert!(rule["annotations"]["description"].is_string(), "{alert}");
    }
}

#[test]
fn each_has_a_runbook_and_each_runbook_an_alert() {
    let runbooks = text("docs/runbooks.md");
    let headings = runbooks.lines().filter_map(|line| line.strip_prefix("## "));
    let headings: BTreeSet<_> = headings
        .filter(|heading| heading.starts_with("Mbcas"))
        .map(str::to_owned)
        .collect();
    assert_eq!(headings, alerts());
}

#[test]
fn every_metric_in_them_is_one_of_ours() {
    let sources = ["src/controller/src/metrics.rs", "webhook/src/metrics.rs"]
        .map(text)
        .concat();
    let spec: Value = serde_saphyr::from_str(&text("chart/files/alerts.yaml")).unwrap();
    let mut seen = 0;
    for rule in rules(&spec) {
        let expression = rule["expr"].as_str().unwrap();
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for metric in words.filter(|word| word.starts_with("mbcas_")) {
            let stem = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|end| metric.strip_suffix(end))
                .unwrap_or(metric);
            assert!(
                sources.contains(&format!("\"{stem}\"")),
                "{}: nobody has {metric}",
                rule["alert"]
            );
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}
