use serde_json::json;

use super::*;
use crate::args::{Cli, Command};

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    spec:
      containers:
      - {name: app, image: app, resources: {requests: {cpu: 250m}}}
";

/// The command's result for `manifests`.
fn injected(manifests: &str, more: &[&str]) -> Report {
    let file = std::env::temp_dir().join(format!(
        "mbcas-inject-{}-{:?}.yaml",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::write(&file, manifests).unwrap();
    let words = ["mbcas", "inject", "-f"].map(Into::into);
    let words: Vec<_> = words
        .into_iter()
        .chain([file.clone().into_os_string()])
        .chain(more.iter().map(Into::into))
        .collect();
    let cli = Cli::try_from_words(&words).unwrap();
    let Command::Inject(args) = cli.command else {
        panic!("not inject");
    };
    let report = run(&args, cli.connection.namespace.as_deref());
    std::fs::remove_file(file).unwrap();
    report.unwrap()
}

fn documents(report: &Report) -> Vec<Value> {
    serde_saphyr::from_multiple(&report.text).unwrap()
}

#[test]
fn a_template_without_annotations_is_injected_once() {
    let report = injected(DEPLOYMENT, &[]);
    assert!(!report.failed);
    let objects = documents(&report);
    let template = &objects[0]["spec"]["template"];
    assert_eq!(
        template["spec"]["initContainers"][0]["image"],
        format!("mbcas-demand-agent:{}", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(
        template["metadata"]["annotations"]["mbcas.dev/injection"],
        "injected"
    );
    assert_eq!(template["metadata"].get("ownerReferences"), None);
    let again = injected(&report.text, &[]);
    assert_eq!(documents(&again), objects);
}

#[test]
fn what_holds_no_pod_passes_unchanged_and_lists_are_gone_through() {
    let service =
        "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}";
    let cron = "{apiVersion: batch/v1, kind: CronJob, metadata: {name: tick}, spec: {jobTemplate: {spec: {template: {spec: \
                {containers: [{name: app, image: a, resources: {requests: {cpu: 100m}}}]}}}}}}";
    let list = format!("{{apiVersion: v1, kind: List, items: [{service}, {cron}]}}");
    let report = injected(&list, &["--agent-image", "registry.example/agent:2"]);
    let objects = documents(&report);
    assert_eq!(
        objects[0]["items"][0],
        serde_saphyr::from_str::<Value>(service).unwrap()
    );
    let pod = &objects[0]["items"][1]["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    assert_eq!(
        pod["initContainers"][0]["image"],
        "registry.example/agent:2"
    );
}

#[test]
fn a_refusal_leaves_nothing_to_apply() {
    let bad = DEPLOYMENT.replace(
        "    spec:\n",
        "    metadata: {annotations: {mbcas.budget: lots}}\n    spec:\n",
    );
    let both = format!("{DEPLOYMENT}---{bad}");
    let report = injected(&both, &[]);
    assert!(report.failed);
    assert_eq!(report.text, "");
    let report = injected(&both, &["-o", "json"]);
    assert!(report.failed);
    let outcomes: Value = serde_json::from_str(&report.text).unwrap();
    assert_eq!(outcomes[0]["decision"], "inject");
    assert_eq!(outcomes[1]["decision"], "deny");
    assert_eq!(outcomes[1]["reason"], "malformed");
    let fault = outcomes[1]["faults"][0].as_str().unwrap();
    assert!(fault.contains("mbcas.budget=\"lots\""), "{fault}");
}

#[test]
fn a_budget_policy_rules_its_own_namespace() {
    let policy = "{apiVersion: mbcas.dev/v1alpha1, kind: BudgetPolicy, metadata: {name: default, namespace: shop}, spec: {budget: {default: 700}}}";
    let elsewhere = DEPLOYMENT.replace(", namespace: shop", "");
    let report = injected(&format!("{policy}\n---{DEPLOYMENT}---{elsewhere}"), &[]);
    let budgets: Vec<_> = documents(&report)
        .iter()
        .map(|object| object["spec"]["template"]["metadata"]["annotations"]["mbcas.budget"].clone())
        .collect();
    assert_eq!(budgets, [Value::Null, json!("700"), Value::Null]);
    let report = injected(
        &format!("{policy}\n---{elsewhere}"),
        &["--namespace", "shop"],
    );
    assert_eq!(
        documents(&report)[1]["spec"]["template"]["metadata"]["annotations"]["mbcas.budget"],
        "700"
    );
}

#[test]
fn nonsense_is_named() {
    let args = |file: &str| {
        let words = ["mbcas", "inject", "-f", file].map(Into::into);
        match Cli::try_from_words(&words).unwrap().command {
            Command::Inject(args) => args,
            other => panic!("{other:?}"),
        }
    };
    let why = run(&args("/nowhere.yaml"), None).unwrap_err().to_string();
    assert!(why.starts_with("reading /nowhere.yaml failed"), "{why}");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs");
    let why = run(&args(manifest), None).unwrap_err().to_string();
    assert!(why.contains("is neither YAML nor JSON"), "{why}");
}
