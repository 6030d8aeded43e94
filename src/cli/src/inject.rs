//! `mbcas inject`: what admission would do, offline, by admission's own code.
//!
//! Manifests come in and go out again: pods, and the pod templates of
//! workloads, as if their namespace were labelled. A BudgetPolicy, LimitRange or
//! ResourceQuota among them is obeyed as its namespace's. What other pods hold
//! of a namespace's totals is known to a cluster only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use json_patch::Patch;
use mbcas_webhook::namespace::Rules;
use mbcas_webhook::{Decision, Namespace, PodError, Policy, PolicyError, Verdict, admit};
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use crate::args::{InjectArgs, InjectFormat};
use crate::input;
use crate::output::{self, OutputError, Report};

mod template;

use template::Template;

/// Why nothing came out.
#[derive(Debug, Error)]
#[allow(missing_docs)] // each variant's own message says it
pub enum InjectError {
    #[error("reading {} failed: {why}", .file.display())]
    Read { file: PathBuf, why: std::io::Error },
    #[error("{} is neither YAML nor JSON: {why}", .file.display())]
    Parse { file: PathBuf, why: String },
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("a BudgetPolicy, LimitRange or ResourceQuota has the wrong shape: {0}")]
    Rules(serde_json::Error),
    #[error("{object}: {why}")]
    Shape { object: String, why: PodError },
    #[error("{object}: the patch does not apply: {why}")]
    Patch {
        object: String,
        why: json_patch::PatchError,
    },
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// What became of one object.
#[derive(Debug, Serialize)]
pub struct Outcome {
    kind: String,
    namespace: String,
    name: String,
    decision: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    patch: Patch,
}

/// Carries out the command.
///
/// # Errors
/// [`InjectError`]; a pod that would be refused is a result, with exit status 1
/// and no manifests, so that nothing of them reaches a `kubectl apply` behind.
pub fn run(args: &InjectArgs, namespace: Option<&str>) -> Result<Report, InjectError> {
    let policy = args.agent.policy(&args.agent_image)?;
    let mut objects = read(&args.filename)?;
    let mut injection = Injection {
        policy: &policy,
        namespaces: BTreeMap::new(),
        usual: namespace.unwrap_or("default"),
        outcomes: Vec::new(),
    };
    injection.learn(&objects)?;
    for object in &mut objects {
        injection.treat(object)?;
    }
    let outcomes = injection.outcomes;
    outcomes
        .iter()
        .flat_map(Outcome::lines)
        .for_each(|line| output::progress(&line));
    let failed = outcomes.iter().any(|outcome| !outcome.faults.is_empty());
    let text = match args.output {
        InjectFormat::Json => output::json(&outcomes)?,
        InjectFormat::Yaml if failed => String::new(),
        InjectFormat::Yaml => {
            let documents = objects.iter().map(output::yaml);
            documents.collect::<Result<Vec<_>, _>>()?.join("---\n")
        }
    };
    Ok(Report { text, failed })
}

fn read(file: &Path) -> Result<Vec<Value>, InjectError> {
    let text = input::read(file);
    let file = || file.to_owned();
    let text = text.map_err(|why| InjectError::Read { file: file(), why })?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).map_err(|why| InjectError::Parse {
            file: file(),
            why: why.to_string(),
        })?;
    Ok(documents.into_iter().filter(|d| !d.is_null()).collect())
}

/// The manifests' objects; those of a List one by one.
fn each<'a>(objects: &'a [Value]) -> Box<dyn Iterator<Item = &'a Value> + 'a> {
    Box::new(objects.iter().flat_map(|object| match items(object) {
        Some(items) => each(items),
        None => Box::new(std::iter::once(object)),
    }))
}

fn items(object: &Value) -> Option<&[Value]> {
    let is_list = object["kind"].as_str()?.ends_with("List");
    Some(object["items"].as_array().filter(|_| is_list)?)
}

struct Injection<'a> {
    policy: &'a Policy,
    namespaces: BTreeMap<String, Namespace>,
    /// Where an object is that does not say so.
    usual: &'a str,
    outcomes: Vec<Outcome>,
}

impl Injection<'_> {
    fn namespace_of(&self, object: &Value) -> String {
        let named = object["metadata"]["namespace"].as_str();
        named.unwrap_or(self.usual).to_owned()
    }

    /// Takes up the namespaces' rules.
    fn learn(&mut self, objects: &[Value]) -> Result<(), InjectError> {
        let mut by_namespace: BTreeMap<_, Vec<&Value>> = BTreeMap::new();
        for object in each(objects) {
            let namespace = self.namespace_of(object);
            by_namespace.entry(namespace).or_default().push(object);
        }
        for (name, objects) in by_namespace {
            let rules = Rules::of(objects).map_err(InjectError::Rules)?;
            let namespace = Namespace {
                name: name.clone(),
                rules: rules.into(),
                ..Namespace::default()
            };
            self.namespaces.insert(name, namespace);
        }
        Ok(())
    }

    fn treat(&mut self, object: &mut Value) -> Result<(), InjectError> {
        if items(object).is_some() {
            let items = object["items"].as_array_mut().into_iter().flatten();
            return items.into_iter().try_for_each(|item| self.treat(item));
        }
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let name = &object["metadata"]["name"];
        let name = name.as_str().unwrap_or("(no name)").to_owned();
        let namespace = self.namespace_of(object);
        let shown = format!("{kind} {namespace}/{name}");
        let Some(template) = Template::of(object, &kind) else {
            return Ok(());
        };
        let known = self.namespaces.entry(namespace.clone()).or_default();
        let shape = |why| {
            let object = shown.clone();
            InjectError::Shape { object, why }
        };
        let verdict = admit(&template.pod, self.policy, known).map_err(shape)?;
        let Verdict {
            decision,
            patch,
            warnings,
            ..
        } = verdict;
        let patch = patch.operations().map_err(|why| shape(why.into()))?;
        let patch = template.patch(object, patch);
        json_patch::patch(object, &patch)
            .map_err(|why| InjectError::Patch { object: shown, why })?;
        let (word, reason) = (decision.as_str(), decision.reason());
        self.outcomes.push(Outcome {
            kind,
            namespace,
            name,
            decision: word,
            reason,
            faults: match decision {
                Decision::Deny(_, faults) => faults,
                _ => Vec::new(),
            },
            warnings,
            patch,
        });
        Ok(())
    }
}

impl Outcome {
    /// For people.
    fn lines(&self) -> Vec<String> {
        let object = format!("{} {}/{}", self.kind, self.namespace, self.name);
        let head = match self.decision {
            "inject" => format!("{object}: injected"),
            "deny" => format!("{object}: its pods would be refused"),
            _ => format!("{object}: not injected ({})", self.reason),
        };
        let more = self.faults.iter().chain(&self.warnings);
        std::iter::once(head)
            .chain(more.map(|line| format!("  {line}")))
            .collect()
    }
}

#[cfg(test)]
mod tests;
