//! What a webhook or a policy is asked about: rules and selectors, as the API server reads them.

use serde_json::{Value, json};

use crate::conditions;
use crate::support::list;

/// Something that is asked of the API server.
pub(crate) struct Request {
    pub(crate) operation: &'static str,
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    /// With its subresource: `pods/resize`.
    pub(crate) resource: &'static str,
    /// The labels of the object's namespace, or of the object itself if it is one;
    /// absent for everything else that has no namespace.
    pub(crate) namespace: Option<Value>,
    pub(crate) object: Value,
    pub(crate) old: Value,
    pub(crate) groups: Vec<&'static str>,
}

/// Something that the API server asks: an entry of a webhook configuration, or a policy.
pub(crate) struct Asked<'a> {
    pub(crate) name: String,
    rules: &'a Value,
    namespaces: &'a Value,
    objects: &'a Value,
    conditions: &'a Value,
}

/// Everything in `objects` that the API server would ask.
pub(crate) fn asked(objects: &[Value]) -> Vec<Asked<'_>> {
    let entry = |object: &Value, webhook: &Value| {
        format!(
            "{} {} {}",
            object["kind"], object["metadata"]["name"], webhook["name"]
        )
        .replace('"', "")
    };
    let webhooks = objects.iter().flat_map(|object| {
        list(&object["webhooks"]).iter().map(move |webhook| Asked {
            name: entry(object, webhook),
            rules: &webhook["rules"],
            namespaces: &webhook["namespaceSelector"],
            objects: &webhook["objectSelector"],
            conditions: &webhook["matchConditions"],
        })
    });
    let policies = objects.iter().filter(|object| {
        let kind = &object["kind"];
        kind == "ValidatingAdmissionPolicy" || kind == "MutatingAdmissionPolicy"
    });
    let policies = policies.map(|policy| {
        let constraints = &policy["spec"]["matchConstraints"];
        Asked {
            name: entry(policy, &json!({"name": ""})),
            rules: &constraints["resourceRules"],
            namespaces: &constraints["namespaceSelector"],
            objects: &constraints["objectSelector"],
            conditions: &policy["spec"]["matchConditions"],
        }
    });
    webhooks.chain(policies).collect()
}

impl Asked<'_> {
    /// Whether rules and selectors let the request through, whatever the conditions say.
    pub(crate) fn selects(&self, request: &Request) -> bool {
        let labels = &request.object["metadata"]["labels"];
        let old = &request.old["metadata"]["labels"];
        list(self.rules).iter().any(|rule| covers(rule, request))
            && request
                .namespace
                .as_ref()
                .is_none_or(|labels| selects(self.namespaces, labels))
            && (selects(self.objects, labels) || selects(self.objects, old))
    }

    /// Whether it is asked about the request.
    pub(crate) fn is_asked_about(&self, request: &Request) -> bool {
        self.selects(request)
            && list(self.conditions).iter().all(|condition| {
                conditions::holds(condition["expression"].as_str().unwrap(), request).unwrap()
            })
    }
}

fn covers(rule: &Value, request: &Request) -> bool {
    let has = |key: &str, wanted: &str| {
        list(&rule[key])
            .iter()
            .any(|value| value == "*" || value == wanted)
    };
    let (resource, subresource) = request
        .resource
        .split_once('/')
        .unwrap_or((request.resource, ""));
    let resources = list(&rule["resources"]).iter().filter_map(Value::as_str);
    let matches = |pattern: &str| match pattern.split_once('/') {
        Some((wanted, sub)) => {
            (wanted == "*" || wanted == resource) && (sub == "*" || sub == subresource)
        }
        None => subresource.is_empty() && (pattern == "*" || pattern == resource),
    };
    let scoped = match rule["scope"].as_str() {
        // A namespace counts as an object without one.
        Some("Namespaced") => request.namespace.is_some() && resource != "namespaces",
        Some("Cluster") => request.namespace.is_none() || resource == "namespaces",
        _ => true,
    };
    has("operations", request.operation)
        && has("apiGroups", request.group)
        && has("apiVersions", request.version)
        && resources.into_iter().any(matches)
        && scoped
}

/// Whether a LabelSelector selects something with `labels`; one that is absent or empty selects all.
pub(crate) fn selects(selector: &Value, labels: &Value) -> bool {
    let equal = |(key, value): (&String, &Value)| labels.get(key) == Some(value);
    let expression = |expression: &Value| {
        let found = labels.get(expression["key"].as_str().unwrap());
        let within = found.is_some_and(|found| list(&expression["values"]).contains(found));
        match expression["operator"].as_str().unwrap() {
            "In" => within,
            "NotIn" => !within,
            "Exists" => found.is_some(),
            "DoesNotExist" => found.is_none(),
            other => panic!("no operator of a selector: {other}"),
        }
    };
    selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .all(equal)
        && list(&selector["matchExpressions"]).iter().all(expression)
}

#[test]
fn selectors_select_as_kubernetes_documents_it() {
    let labels = json!({"a": "1", "b": "2"});
    let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    for (selector, selected) in [
        (Value::Null, true),
        (json!({}), true),
        (json!({"matchLabels": {"a": "1"}}), true),
        (json!({"matchLabels": {"a": "1", "c": "3"}}), false),
        (expression("a", "In", &["0", "1"]), true),
        (expression("c", "In", &["1"]), false),
        (expression("a", "NotIn", &["1"]), false),
        (expression("c", "NotIn", &["1"]), true),
        (expression("a", "Exists", &[]), true),
        (expression("c", "Exists", &[]), false),
        (expression("a", "DoesNotExist", &[]), false),
        (expression("c", "DoesNotExist", &[]), true),
    ] {
        assert_eq!(selects(&selector, &labels), selected, "{selector}");
    }
}

#[test]
fn rules_cover_what_the_api_server_says_they_cover() {
    let rule = |resources: &[&str], scope: &str| json!({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources, "scope": scope});
    let request = |resource, namespace| Request {
        operation: "UPDATE",
        group: "",
        version: "v1",
        resource,
        namespace,
        object: Value::Null,
        old: Value::Null,
        groups: vec![],
    };
    let pod = || Some(json!({}));
    for (rule, request, covered) in [
        (rule(&["pods"], "*"), request("pods", pod()), true),
        (rule(&["pods"], "*"), request("pods/resize", pod()), false),
        (rule(&["pods/*"], "*"), request("pods/resize", pod()), true),
        (
            rule(&["*/resize"], "*"),
            request("pods/resize", pod()),
            true,
        ),
        (rule(&["*"], "*"), request("pods/resize", pod()), false),
        (rule(&["*/*"], "*"), request("pods", pod()), true),
        (rule(&["*"], "Cluster"), request("pods", pod()), false),
        (rule(&["*"], "Cluster"), request("nodes", None), true),
        (rule(&["*"], "Namespaced"), request("nodes", None), false),
        (
            rule(&["*"], "Namespaced"),
            request("namespaces", pod()),
            false,
        ),
    ] {
        assert_eq!(
            covers(&rule, &request),
            covered,
            "{rule}, {}",
            request.resource
        );
    }
}
