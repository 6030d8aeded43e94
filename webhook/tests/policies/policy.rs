//! A ValidatingAdmissionPolicy, and what it says about a request.

use kube_cel::cel::Context;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::cel::{Conditions, Expression, bind, bind_variable, functions};

/// The release's namespace, which the template adds as the variable `release`.
pub(super) const RELEASE: &str = "mbcas-system";

/// A policy of `chart/files/policies`.
pub(super) struct Policy {
    functions: Context<'static>,
    pub(super) spec: Spec,
    conditions: Conditions,
    variables: Vec<(String, Expression)>,
    rules: Vec<(Expression, Option<Expression>, String)>,
}

/// What is read of it. Other fields are the API server's to check.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) failure_policy: String,
    #[serde(default)]
    match_conditions: Vec<Named>,
    #[serde(default)]
    variables: Vec<Named>,
    validations: Vec<Validation>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    expression: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Validation {
    expression: String,
    message: String,
    message_expression: Option<String>,
}

/// A request to the API server.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) operation: &'static str,
    pub(super) subresource: Option<&'static str>,
    pub(super) object: Json,
    pub(super) old: Json,
    pub(super) user: String,
    pub(super) groups: Vec<String>,
    /// What the user may do cluster-wide: `group/resource/verb`.
    pub(super) grants: Vec<&'static str>,
    pub(super) params: Json,
}

impl Request {
    pub(super) fn create(object: Json) -> Self {
        Self {
            operation: "CREATE",
            subresource: None,
            object,
            old: Json::Null,
            user: "jane".to_owned(),
            groups: vec!["system:authenticated".to_owned()],
            grants: Vec::new(),
            params: Json::Null,
        }
    }

    pub(super) fn update(old: Json, object: Json) -> Self {
        Self {
            operation: "UPDATE",
            old,
            ..Self::create(object)
        }
    }

    fn context<'a>(&self, functions: &'a Context<'_>) -> Context<'a> {
        let mut context = functions.new_inner_scope();
        let mut request = json!({
            "operation": self.operation,
            "userInfo": {"username": self.user, "groups": self.groups},
        });
        if let Some(subresource) = self.subresource {
            request["subResource"] = json!(subresource);
        }
        bind(&mut context, "object", &self.object);
        bind(&mut context, "oldObject", &self.old);
        bind(&mut context, "params", &self.params);
        bind(&mut context, "request", &request);
        bind(&mut context, "authorizer", &json!(self.grants));
        context
    }
}

/// What a policy says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Its match conditions do not hold.
    Unseen,
    /// Every validation holds.
    Allowed,
    /// The messages of those that do not.
    Denied(Vec<String>),
    /// An expression cannot be evaluated: what happens then is up to the failure policy.
    Error(String),
}

impl Policy {
    /// Reads `chart/files/policies/<name>.yaml`.
    pub(super) fn load(name: &str) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../chart/files/policies");
        let text = std::fs::read_to_string(format!("{folder}/{name}.yaml")).unwrap();
        let spec: Spec = serde_saphyr::from_str(&text).unwrap();
        let release = (
            "release".to_owned(),
            Expression::compile(&format!("'{RELEASE}'")),
        );
        let variables = spec.variables.iter();
        let variables = variables.map(|v| (v.name.clone(), Expression::compile(&v.expression)));
        let rules = spec.validations.iter().map(|v| {
            let says = v.message_expression.as_deref().map(Expression::compile);
            (Expression::compile(&v.expression), says, v.message.clone())
        });
        Self {
            functions: functions(),
            conditions: Conditions::compile(spec.match_conditions.iter().map(|c| &*c.expression)),
            variables: std::iter::once(release).chain(variables).collect(),
            rules: rules.collect(),
            spec,
        }
    }

    /// What it says about `request`.
    pub(super) fn judge(&self, request: &Request) -> Verdict {
        self.try_judge(request).unwrap_or_else(Verdict::Error)
    }

    fn try_judge(&self, request: &Request) -> Result<Verdict, String> {
        let mut context = request.context(&self.functions);
        if !self.conditions.hold(&context)? {
            return Ok(Verdict::Unseen);
        }
        for (name, expression) in &self.variables {
            if let Ok(value) = expression.value(&context) {
                bind_variable(&mut context, name, value);
            }
        }
        let mut messages = Vec::new();
        for (expression, says, message) in &self.rules {
            if !expression.holds(&context)? {
                let said = says.as_ref().map(|says| says.text(&context)).transpose()?;
                messages.push(
                    said.filter(|said| is_message(said))
                        .unwrap_or_else(|| message.clone()),
                );
            }
        }
        let denied = !messages.is_empty();
        Ok(if denied {
            Verdict::Denied(messages)
        } else {
            Verdict::Allowed
        })
    }
}

/// Others the API server replaces by the fixed message.
fn is_message(text: &str) -> bool {
    !text.trim().is_empty() && !text.contains('\n') && text.len() <= 5 * 1024
}
