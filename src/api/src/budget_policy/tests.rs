use std::path::Path;

use serde_json::{Value, json};

use super::*;

/// Where the chart has the CRD, generated from the types here.
fn file() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../chart/files/budgetpolicies.yaml")
}

#[test]
fn the_charts_crd_is_the_one_of_these_types() {
    let crd = serde_saphyr::to_string(&crd().unwrap()).unwrap();
    let wanted = format!(
        "# Generated from src/api/src/budget_policy.rs: MBCAS_WRITE_CRD=1 cargo test -p mbcas-api\n{crd}"
    );
    if std::env::var_os("MBCAS_WRITE_CRD").is_some() {
        std::fs::write(file(), &wanted).unwrap();
    }
    let found = std::fs::read_to_string(file()).unwrap_or_default();
    assert_eq!(
        found, wanted,
        "write it anew: MBCAS_WRITE_CRD=1 cargo test -p mbcas-api"
    );
}

#[test]
fn a_policy_may_say_nothing_and_everything() {
    let read = |value: Value| serde_json::from_value::<BudgetPolicySpec>(value);
    assert_eq!(read(json!({})).unwrap(), BudgetPolicySpec::default());
    let whole = json!({
        "budget": {"total": 1000, "default": 100, "min": 10, "max": 600},
        "cpu": {"minPerPod": "50m", "maxPerPod": 4, "floorTotal": "2.5"},
        "defaults": {"cpuRequest": "100m"},
        "mode": "recommend", "agent": "None", "optOut": "Deny", "onExceed": "Clamp",
    });
    let policy = read(whole).unwrap();
    assert_eq!(policy.budget.max.map(Budget::get), Some(600));
    assert_eq!(
        policy.cpu.max_per_pod.map(MilliCpu::from),
        Some(MilliCpu::new(4_000))
    );
    assert_eq!(
        policy.cpu.floor_total.map(MilliCpu::from),
        Some(MilliCpu::new(2_500))
    );
    let again = serde_json::to_value(&policy).unwrap();
    assert_eq!(again["cpu"]["floorTotal"], "2500m");
    assert_eq!(read(again).unwrap(), policy);
}

#[test]
fn amounts_outside_the_grammar_are_refused() {
    for amount in [
        json!("9m"),
        json!("lots"),
        json!("10001"),
        json!(-1),
        json!(0.5),
        json!(""),
    ] {
        let read =
            serde_json::from_value::<BudgetPolicySpec>(json!({"cpu": {"minPerPod": amount}}));
        assert!(read.is_err(), "{amount}");
    }
    assert!(serde_json::from_value::<BudgetPolicySpec>(json!({"budget": {"max": 0}})).is_err());
    assert!(serde_json::from_value::<BudgetPolicySpec>(json!({"mode": "fast"})).is_err());
}

#[test]
fn the_crd_is_namespaced_has_a_status_and_one_name() {
    let crd = serde_json::to_value(crd().unwrap()).unwrap();
    assert_eq!(crd["metadata"]["name"], "budgetpolicies.mbcas.dev");
    assert_eq!(crd["spec"]["scope"], "Namespaced");
    assert!(!crd.to_string().contains("nullable"));
    let version = &crd["spec"]["versions"][0];
    assert_eq!(version["subresources"]["status"], json!({}));
    let schema = &version["schema"]["openAPIV3Schema"];
    assert_eq!(
        schema["x-kubernetes-validations"][0]["rule"],
        "self.metadata.name == 'default'"
    );
    let cpu = &schema["properties"]["spec"]["properties"]["cpu"];
    assert_eq!(
        cpu["properties"]["maxPerPod"]["x-kubernetes-int-or-string"],
        true
    );
    assert_eq!(
        cpu["x-kubernetes-validations"].as_array().map(Vec::len),
        Some(2)
    );
}
