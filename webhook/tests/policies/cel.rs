//! The API server's CEL, as far as policies and match conditions of ours use it.
//!
//! kube-cel's functions, and our own in the place of those that do not do what
//! the API server's do: quantities (kube-cel takes white space, refuses `+1`
//! and `m`, and overflows), `size` of a string (code points, not bytes), and
//! the authorizer, which kube-cel lacks.

use std::collections::HashMap;
use std::sync::Arc;

use kube_cel::KubeCelExt;
use kube_cel::cel::extractors::This;
use kube_cel::cel::objects::{Key, Opaque};
use kube_cel::cel::{Context, ExecutionError, Program, ResolveResult, Value};
use mbcas_core::Quantity;
use serde_json::Value as Json;

/// A compiled expression.
pub(super) struct Expression(Program);

impl Expression {
    /// Compiles it. A policy's variables become variables of the context, so
    /// that one that cannot be evaluated is an error only where it is used.
    pub(super) fn compile(text: &str) -> Self {
        let flat = text.replace("variables.", "variables__");
        Self(Program::compile(&flat).unwrap_or_else(|why| panic!("{text}\n{why}")))
    }

    pub(super) fn value(&self, context: &Context<'_>) -> Result<Value, String> {
        self.0.execute(context).map_err(|why| why.to_string())
    }

    pub(super) fn holds(&self, context: &Context<'_>) -> Result<bool, String> {
        match self.value(context)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(format!("{other:?} is neither true nor false")),
        }
    }

    pub(super) fn text(&self, context: &Context<'_>) -> Result<String, String> {
        match self.value(context)? {
            Value::String(text) => Ok(text.to_string()),
            other => Err(format!("{other:?} is no text")),
        }
    }
}

/// Match conditions: of a policy, or of a webhook.
pub(super) struct Conditions(Vec<Expression>);

impl Conditions {
    pub(super) fn compile<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self(texts.into_iter().map(Expression::compile).collect())
    }

    /// Whether the request is looked at. As in the API server, one condition
    /// that does not hold decides, whatever errors the others give.
    pub(super) fn hold(&self, context: &Context<'_>) -> Result<bool, String> {
        let outcomes: Vec<_> = self.0.iter().map(|one| one.holds(context)).collect();
        if outcomes.contains(&Ok(false)) {
            return Ok(false);
        }
        outcomes
            .into_iter()
            .try_fold(true, |all, one| Ok(all && one?))
    }
}

/// A context with every function and no variable.
pub(super) fn functions() -> Context<'static> {
    let mut context = Context::default().with_all();
    context.add_function("size", size);
    context.add_function("quantity", |text: Arc<String>| quantity(&text));
    context.add_function("isQuantity", |text: Arc<String>| {
        Quantity::parse(&text).is_ok()
    });
    context.add_function("isGreaterThan", |This(this): This<Value>, other: Value| {
        Ok::<_, ExecutionError>(amount(&this)? > amount(&other)?)
    });
    context.add_function("asApproximateFloat", |This(this): This<Value>| {
        Ok::<_, ExecutionError>(float(&amount(&this)?))
    });
    // What is granted narrows down to what is asked: group/resource/verb.
    for step in ["group", "resource", "check"] {
        context.add_function(
            step,
            |This(grants): This<Arc<Vec<Value>>>, name: Arc<String>| {
                Ok::<_, ExecutionError>(narrow(&grants, &name))
            },
        );
    }
    context.add_function("allowed", |This(grants): This<Arc<Vec<Value>>>| {
        !grants.is_empty()
    });
    context
}

/// Adds a variable as the API server shows it to CEL.
pub(super) fn bind(context: &mut Context<'_>, name: &str, json: &Json) {
    context.add_variable_from_value(name, value(json));
}

/// Adds a policy's own variable.
pub(super) fn bind_variable(context: &mut Context<'_>, name: &str, value: Value) {
    context.add_variable_from_value(format!("variables__{name}"), value);
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(yes) => Value::Bool(*yes),
        Json::Number(n) => n
            .as_i64()
            .map_or_else(|| panic!("{n} is no int64"), Value::Int),
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => Value::List(Arc::new(items.iter().map(value).collect())),
        Json::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(k, v)| (Key::from(k.as_str()), value(v)));
            fields.collect::<HashMap<_, _>>().into()
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Amount(Quantity);

impl Opaque for Amount {
    fn runtime_type_name(&self) -> &'static str {
        "kubernetes.Quantity"
    }
}

fn quantity(text: &str) -> ResolveResult {
    let parsed = Quantity::parse(text);
    let parsed = parsed.map_err(|why| ExecutionError::function_error("quantity", why))?;
    Ok(Value::Opaque(Arc::new(Amount(parsed))))
}

fn amount(value: &Value) -> Result<Quantity, ExecutionError> {
    let opaque = match value {
        Value::Opaque(opaque) => opaque.downcast_ref::<Amount>(),
        _ => None,
    };
    let wrong = || ExecutionError::function_error("quantity", "not a quantity");
    opaque.map(|amount| amount.0.clone()).ok_or_else(wrong)
}

/// As Go does it: the number as a float, times the power that its suffix stands for.
fn float(quantity: &Quantity) -> f64 {
    let text = quantity.canonical();
    let end = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "Ki" => 1024.0,
        _ => format!("1{suffix}").parse().unwrap_or(f64::INFINITY),
    };
    number.parse::<f64>().unwrap() * factor
}

fn size(This(this): This<Value>) -> Result<i64, ExecutionError> {
    let size = match &this {
        Value::String(text) => text.chars().count(),
        Value::List(items) => items.len(),
        Value::Map(map) => map.map.len(),
        other => return Err(ExecutionError::function_error("size", format!("{other:?}"))),
    };
    Ok(i64::try_from(size).unwrap())
}

fn narrow(grants: &[Value], name: &str) -> Value {
    let rest = |grant: &Value| match grant {
        Value::String(grant) => {
            let (head, rest) = grant.split_once('/').unwrap_or((grant, ""));
            (head == name).then(|| rest.into())
        }
        _ => None,
    };
    Value::List(Arc::new(grants.iter().filter_map(rest).collect()))
}
