//! `BudgetPolicy`: what a namespace may spend, decided by whoever runs the cluster.
//!
//! One per namespace, named [`BUDGET_POLICY_NAME`], as only one can say what a
//! namespace's whole is. Every field is optional; what is not said is not
//! limited. The CRD in the chart is generated from these types (a test compares
//! the two), with the rules that one field's schema cannot say as CEL.

// The derive makes a private copy of each type for the schema.
#![allow(unreachable_pub)]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use mbcas_core::annotations::{Mode, cpu};
use mbcas_core::quantity::Quantity;
use mbcas_core::units::{Budget, MilliCpu};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The only name that a policy can have.
pub const BUDGET_POLICY_NAME: &str = "default";

/// What a namespace's pods may ask of the market.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "mbcas.dev",
    version = "v1alpha1",
    kind = "BudgetPolicy",
    plural = "budgetpolicies",
    shortname = "bp",
    namespaced,
    status = "BudgetPolicyStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "What the pods of a namespace may ask of MBCAS's CPU market. One per namespace, named default.",
    validation = Rule::new("self.metadata.name == 'default'").message("a namespace has one BudgetPolicy, and its name is default"),
    validation = Rule::new("!has(self.spec.defaults) || !has(self.spec.defaults.cpuRequest) || !has(self.spec.cpu) || !has(self.spec.cpu.maxPerPod) || quantity(string(self.spec.defaults.cpuRequest)).compareTo(quantity(string(self.spec.cpu.maxPerPod))) <= 0").message("defaults.cpuRequest is above cpu.maxPerPod: every pod that gets it would be refused"),
    printcolumn(name = "Budget", type_ = "integer", json_path = ".spec.budget.total", description = "What the namespace's budgets may add up to"),
    printcolumn(name = "Used", type_ = "integer", json_path = ".status.budgetUsed", description = "What they add up to"),
    printcolumn(name = "Pods", type_ = "integer", json_path = ".status.pods", description = "Pods that take part"),
    printcolumn(name = "CPU", type_ = "string", json_path = ".status.cpuHeld", description = "CPU that they are granted together"),
    printcolumn(name = "On-Exceed", type_ = "string", json_path = ".spec.onExceed", description = "What happens to a pod that asks for too much"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct BudgetPolicySpec {
    /// Bounds of the annotation mbcas.budget.
    #[serde(default)]
    pub budget: BudgetBounds,
    /// Bounds of the annotations mbcas.minCPU and mbcas.maxCPU.
    #[serde(default)]
    pub cpu: CpuBounds,
    /// What a container gets that says nothing about its resources.
    #[serde(default)]
    pub defaults: Defaults,
    /// How far MBCAS goes with these pods at most; a pod may ask for less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<PolicyMode>,
    /// Whether pods get a demand agent. Without one they take part on the kubelet's evidence alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<PolicyAgent>,
    /// Whether a pod may opt out with mbcas.enabled: "false".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_out: Option<OptOut>,
    /// What happens to a pod that asks for more than it may: Deny (the default) or Clamp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_exceed: Option<OnExceed>,
}

/// Bounds of `mbcas.budget`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.min) || !has(self.max) || self.min <= self.max").message("budget.min is above budget.max"),
    validation = Rule::new("!has(self.default) || ((!has(self.min) || self.min <= self.default) && (!has(self.max) || self.default <= self.max))").message("budget.default is not between budget.min and budget.max"),
    validation = Rule::new("!has(self.default) || !has(self.total) || self.default <= self.total").message("budget.default is above budget.total"),
    validation = Rule::new("!has(self.min) || !has(self.total) || self.min <= self.total").message("budget.min is above budget.total: no pod could take part")
)]
#[serde(rename_all = "camelCase")]
pub struct BudgetBounds {
    /// What the budgets of all pods that take part may add up to.
    #[schemars(with = "Option<i64>", range(min = 1, max = 1_000_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// The budget of a pod that names none.
    #[schemars(with = "Option<i64>", range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Budget>,
    /// The least that a pod may name.
    #[schemars(with = "Option<i64>", range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<Budget>,
    /// The most that a pod may name.
    #[schemars(with = "Option<i64>", range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Budget>,
}

/// Bounds of `mbcas.minCPU` and `mbcas.maxCPU`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(
    validation = Rule::new("!has(self.minPerPod) || !has(self.maxPerPod) || quantity(string(self.minPerPod)).compareTo(quantity(string(self.maxPerPod))) <= 0").message("cpu.minPerPod is above cpu.maxPerPod"),
    validation = Rule::new("!has(self.minPerPod) || !has(self.floorTotal) || quantity(string(self.minPerPod)).compareTo(quantity(string(self.floorTotal))) <= 0").message("cpu.minPerPod is above cpu.floorTotal")
)]
#[serde(rename_all = "camelCase")]
pub struct CpuBounds {
    /// The least floor of a pod's container: mbcas.minCPU, else its request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_per_pod: Option<Cpu>,
    /// The most that a pod's container may be given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_per_pod: Option<Cpu>,
    /// What the floors of all pods that take part may add up to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor_total: Option<Cpu>,
}

/// What a container gets that says nothing about its resources.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Defaults {
    /// The CPU request of a participating container without one. A BestEffort pod becomes Burstable by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_request: Option<Cpu>,
}

/// How far MBCAS goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PolicyMode {
    /// Measure only.
    Observe,
    /// Publish what it would do.
    Recommend,
    /// Resize.
    Auto,
}

impl From<PolicyMode> for Mode {
    fn from(mode: PolicyMode) -> Self {
        match mode {
            PolicyMode::Observe => Self::Observe,
            PolicyMode::Recommend => Self::Recommend,
            PolicyMode::Auto => Self::Auto,
        }
    }
}

/// Whether pods get a demand agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PolicyAgent {
    /// A native sidecar, where nothing stands against it.
    Sidecar,
    /// None.
    None,
}

/// Whether a pod may opt out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OptOut {
    /// It may.
    Allow,
    /// It is refused.
    Deny,
}

/// What happens to a pod that asks for more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnExceed {
    /// It is refused.
    Deny,
    /// It is created with what it may have, and a warning says so.
    Clamp,
}

/// What the market sees of the namespace, written by the controller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetPolicyStatus {
    /// The generation of the spec that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods that take part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<u32>,
    /// What their budgets add up to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_used: Option<u64>,
    /// What they are granted together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_held: Option<String>,
    /// The highest price among their nodes, in budget per core; 0 where nobody is short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
    /// What is to be known besides.
    #[schemars(schema_with = "conditions")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// CPU as a policy names it: a quantity as in `mbcas.maxCPU`, quoted or a whole number of cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpu(MilliCpu);

impl From<Cpu> for MilliCpu {
    fn from(cpu: Cpu) -> Self {
        cpu.0
    }
}

impl Serialize for Cpu {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Quantity::from(self.0).canonical())
    }
}

impl<'de> Deserialize<'de> for Cpu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match IntOrString::deserialize(deserializer)? {
            IntOrString::Int(cores) => cores.to_string(),
            IntOrString::String(text) => text,
        };
        cpu(&text).map(Self).map_err(|rule| {
            serde::de::Error::custom(format!("{text:?} is no amount of CPU: {rule}"))
        })
    }
}

impl JsonSchema for Cpu {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cpu".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // In whole millicores, rounded up as the API server does, 10m to 10k is what lies above 9m and not above 10k.
        json_schema!({
            // Enough for 10000000m. The API server takes a minute to compare 1e100000000.
            "maxLength": 9,
            "x-kubernetes-int-or-string": true,
            "x-kubernetes-validations": [{
                "rule": "string(self).matches('^[+]?[0-9.]{1,9}([a-zA-Z]{0,2}|[eE][+-]?[0-9]{1,2})$') && isQuantity(string(self)) && quantity(string(self)).isGreaterThan(quantity('9m')) && !quantity(string(self)).isGreaterThan(quantity('10k'))",
                "message": "must be an amount of CPU from 10m to 10k",
            }],
        })
    }
}

/// The CRD as it is installed: [`BudgetPolicy::crd`] without `nullable`, which
/// would let a field be there and be null, and with that break every rule about it.
///
/// # Errors
/// None that is known: the CRD is JSON.
pub fn crd() -> Result<CustomResourceDefinition, serde_json::Error> {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("nullable");
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut crd = serde_json::to_value(BudgetPolicy::crd())?;
    strip(&mut crd);
    serde_json::from_value(crd)
}

fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": { "type": "string", "maxLength": 316 },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0 },
                "lastTransitionTime": { "type": "string", "format": "date-time" },
                "reason": { "type": "string", "minLength": 1, "maxLength": 1024 },
                "message": { "type": "string", "maxLength": 32768 },
            },
        },
    })
}

#[cfg(test)]
mod tests;
