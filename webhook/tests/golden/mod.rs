//! Pods of the shapes that clusters have. `pods/NAME.yaml` is what is submitted,
//! `pods/NAME.out.yaml` the whole verdict about it: a change of behaviour shows
//! there and is reviewed there. `MBCAS_GOLDEN=write` writes them anew.
//!
//! In a `NAME.yaml` the last Pod is the one that is judged. A `BudgetPolicy`,
//! `LimitRange` or `ResourceQuota` is its namespace's, and Pods before it are
//! there already. An `OtherWebhook` is what another webhook makes of our result,
//! as a JSON patch; the API server then shows us the pod for the second time.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use mbcas_api::names::DEFAULT_CONTAINER_ANNOTATION;
use mbcas_api::qos::Qos;
use mbcas_core::Settings;
use mbcas_core::quantity::Quantity;
use mbcas_webhook::admit::judge;
use mbcas_webhook::namespace::Rules;
use mbcas_webhook::{Decision, Namespace, SkipReason, Verdict, admit};
use serde::Serialize;
use serde_json::{Value, json};

use super::policy;

/// What stands for the agent's container in an expected verdict, where it is the usual one.
const AGENT: &str = "agent.yaml";

/// A verdict as it stands in a file.
#[derive(Serialize)]
struct Expected {
    decision: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// What it takes of its namespace's totals.
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<Value>,
    patch: Value,
    #[serde(rename = "secondLook", skip_serializing_if = "Option::is_none")]
    second_look: Option<Box<Self>>,
}

impl Expected {
    fn of(verdict: &Verdict) -> Self {
        let mut patch = json!(verdict.patch.operations().unwrap());
        for operation in patch.as_array_mut().unwrap() {
            let value = match operation.pointer_mut("/value/0") {
                Some(only) => only,
                None => &mut operation["value"],
            };
            if *value == usual_agent() {
                *value = json!(AGENT);
            }
        }
        Self {
            decision: verdict.decision.as_str(),
            reason: verdict.decision.reason(),
            faults: match &verdict.decision {
                Decision::Deny(_, faults) => faults.clone(),
                _ => Vec::new(),
            },
            warnings: verdict.warnings.clone(),
            holds: verdict.holding.map(|holding| {
                json!({"budget": holding.budget, "floor": Quantity::from(holding.floor).canonical()})
            }),
            patch,
            second_look: None,
        }
    }
}

fn usual_agent() -> Value {
    serde_json::from_str(&policy().sidecar().container("app", &Settings::default())).unwrap()
}

/// One case: a pod, and where it is created.
struct Case {
    pod: Value,
    namespace: Namespace,
    other_webhook: Option<json_patch::Patch>,
}

impl Case {
    fn read(text: &str) -> Self {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
        let of_kind = |kind: &'static str| documents.iter().filter(move |d| d["kind"] == kind);
        let mut pods: Vec<_> = of_kind("Pod").cloned().collect();
        let pod = pods.pop().expect("a Pod");
        let mut namespace = Namespace {
            name: "shop".to_owned(),
            rules: Rules::of(&documents).unwrap().into(),
            ..Namespace::default()
        };
        for earlier in pods {
            let verdict = admit(&earlier, &policy(), &namespace).unwrap();
            namespace.held.add(verdict.holding.expect("it takes part"));
        }
        let other_webhook = of_kind("OtherWebhook").next();
        Self {
            pod,
            namespace,
            other_webhook: other_webhook
                .map(|other| serde_json::from_value(other["patch"].clone()).unwrap()),
        }
    }

    fn judge(&self) -> (Expected, Verdict) {
        let (first, patched) = self.look(&self.pod);
        let mut expected = Expected::of(&first);
        if let Some(other) = &self.other_webhook {
            let mut changed = patched;
            json_patch::patch(&mut changed, other).unwrap();
            let (second, _) = self.look(&changed);
            expected.second_look = Some(Box::new(Expected::of(&second)));
        }
        (expected, first)
    }

    /// The verdict and what it makes of the pod, with all that holds for every case.
    fn look(&self, pod: &Value) -> (Verdict, Value) {
        let verdict = admit(pod, &policy(), &self.namespace).unwrap();
        let whole: Pod = serde_json::from_value(pod.clone()).unwrap();
        assert_eq!(
            judge(&whole, &policy(), &self.namespace).unwrap(),
            verdict,
            "something is looked at that mbcas_webhook::review::Outline does not read"
        );
        let mut patched = pod.clone();
        json_patch::patch(&mut patched, &verdict.patch.operations().unwrap()).unwrap();
        assert_eq!(
            default_container(&patched),
            default_container(pod),
            "kubectl logs and exec go elsewhere"
        );
        if Qos::of(&spec(&patched)) != Qos::of(&spec(pod)) {
            let said = verdict
                .warnings
                .iter()
                .any(|w| w.contains("Burstable instead of BestEffort"));
            assert!(said, "the QoS class changes without a word");
        }
        if !matches!(verdict.decision, Decision::Deny(..)) {
            let again = admit(&patched, &policy(), &self.namespace).unwrap();
            assert!(
                again.patch.is_empty(),
                "the same again changes something: {again:?}"
            );
        }
        (verdict, patched)
    }
}

fn spec(pod: &Value) -> PodSpec {
    serde_json::from_value(pod["spec"].clone()).unwrap()
}

/// The container that `kubectl logs` and `kubectl exec` take: a sidecar among the init containers is never it.
fn default_container(pod: &Value) -> &Value {
    let named = &pod["metadata"]["annotations"][DEFAULT_CONTAINER_ANNOTATION];
    if named.is_string() {
        named
    } else {
        &pod["spec"]["containers"][0]["name"]
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pods")
}

/// Every case's name.
fn names() -> BTreeSet<String> {
    let files = fs::read_dir(folder()).unwrap();
    files
        .map(|file| {
            let file = file.unwrap().file_name().into_string().unwrap();
            let name = file.strip_suffix(".yaml").expect("only YAML here");
            name.strip_suffix(".out").unwrap_or(name).to_owned()
        })
        .collect()
}

/// Compares `found` with the file, or writes it there.
fn check(file: &Path, found: &impl Serialize, differing: &mut Vec<String>) {
    let found = serde_saphyr::to_string(found).unwrap();
    if std::env::var("MBCAS_GOLDEN").is_ok_and(|order| order == "write") {
        fs::write(file, &found).unwrap();
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    if found != expected {
        let name = file.file_name().unwrap().display();
        differing.push(format!(
            "--- {name}, expected\n{expected}--- {name}, found\n{found}"
        ));
    }
}

#[test]
fn every_pod_gets_the_verdict_beside_it() {
    let mut differing = Vec::new();
    let mut seen = BTreeSet::new();
    let names = names();
    assert!(names.len() >= 70, "{}", names.len());
    check(
        &folder().with_file_name(AGENT),
        &usual_agent(),
        &mut differing,
    );
    for name in names {
        let input = folder().join(format!("{name}.yaml"));
        let text = fs::read_to_string(&input).unwrap_or_else(|e| panic!("{name}.yaml: {e}"));
        println!("{name}");
        let (expected, verdict) = Case::read(&text).judge();
        seen.insert(verdict.decision.reason());
        check(
            &folder().join(format!("{name}.out.yaml")),
            &expected,
            &mut differing,
        );
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    // Only what no pod that is created shows has no file.
    let missing = SkipReason::ALL.iter().map(|reason| reason.as_str());
    let missing: Vec<_> = missing
        .chain(["injected", "malformed", "over_allotment"])
        .filter(|reason| !seen.contains(reason))
        .collect();
    assert_eq!(missing, ["not_a_pod_creation"]);
}

#[test]
fn the_documented_reasons_are_those_that_there_are() {
    let page = include_str!("../../../docs/annotations.md");
    for reason in SkipReason::ALL.iter().filter(|reason| reason.is_marked()) {
        let row = format!("| `{}` |", reason.as_str());
        assert!(page.contains(&row), "docs/annotations.md has no row {row}");
    }
}
