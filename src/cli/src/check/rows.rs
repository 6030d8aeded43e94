//! Judging the facts.

mod pods;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use mbcas_actuator::Support;
use mbcas_api::names::WEBHOOK_CONFIGURATION;
use mbcas_webhook::namespace::Rules;
use mbcas_webhook::policy::{
    AGENT_CPU_LIMIT, AGENT_CPU_REQUEST, AGENT_MEMORY_LIMIT, AGENT_MEMORY_REQUEST,
};
use mbcas_webhook::room::fitted;
use mbcas_webhook::{AgentSpec, Namespace};

use super::Row;
use super::facts::{
    ClusterFacts, DeploymentFacts, InstallationFacts, Known, LeaseFacts, NodeFacts, Permission,
    Version,
};
use crate::args::AGENT_IMAGE;

pub use pods::participation;

/// The first Kubernetes that has in-place resize switched on.
const LEAST: (u32, u32) = (1, 33);

/// Whether the cluster can resize pods in place, and whether we may.
pub fn cluster(facts: &ClusterFacts) -> Vec<Row> {
    let mut rows = vec![version(&facts.version)];
    if facts.version.is_err() {
        return rows;
    }
    rows.push(support(&facts.support));
    rows.push(permission(&facts.permission));
    match &facts.nodes {
        Ok(nodes) if nodes.is_empty() => {
            rows.push(Row::fail("the cluster has no nodes", "add one"));
        }
        Ok(nodes) => rows.extend(nodes.iter().map(node)),
        Err(why) => rows.push(unknown("nodes", why)),
    }
    match &facts.rules {
        Ok(rules) => rows.extend(rooms(rules)),
        Err(why) => rows.push(unknown("LimitRanges and ResourceQuotas", why)),
    }
    rows
}

/// A pod that asks for as good as nothing.
fn modest() -> PodSpec {
    let request = BTreeMap::from([("cpu".to_owned(), Quantity("1m".to_owned()))]);
    let resources = ResourceRequirements {
        requests: Some(request),
        ..ResourceRequirements::default()
    };
    PodSpec {
        containers: vec![Container {
            resources: Some(resources),
            ..Container::default()
        }],
        ..PodSpec::default()
    }
}

/// The namespaces in which not every pod can have the agent, with its usual
/// amounts, beside an application that uses nothing.
fn rooms(rules: &BTreeMap<String, Rules>) -> Vec<Row> {
    let agent = AgentSpec::usual(AGENT_IMAGE);
    let mut rows = Vec::new();
    for (name, rules) in rules {
        let namespace = Namespace {
            name: name.clone(),
            rules: rules.clone().into(),
            ..Namespace::default()
        };
        let row = match fitted(&agent, &modest(), &namespace) {
            Ok(fitted) if *fitted == agent => continue,
            Ok(fitted) => Row::warn(
                format!(
                    "namespace {name}: its LimitRange makes the demand agent take {} to {} of CPU and {} to {} of memory",
                    fitted.cpu_request,
                    fitted.cpu_limit,
                    fitted.memory_request,
                    fitted.memory_limit
                ),
                format!(
                    "usual are {AGENT_CPU_REQUEST} to {AGENT_CPU_LIMIT} and {AGENT_MEMORY_REQUEST} to {AGENT_MEMORY_LIMIT}; \
                     with less CPU its pods start later"
                ),
            ),
            Err(reason) => Row::warn(
                format!(
                    "namespace {name}: pods get no demand agent ({})",
                    reason.as_str()
                ),
                reason.advice().unwrap_or_default(),
            ),
        };
        rows.push(row);
    }
    if rows.is_empty() {
        rows.push(Row::ok(
            "no LimitRange or ResourceQuota keeps the demand agent out",
        ));
    }
    rows
}

fn unknown(what: &str, why: &str) -> Row {
    Row::warn(format!("{what}: cannot be read"), why)
}

fn version(version: &Known<Version>) -> Row {
    match version {
        Ok(Version {
            number: Some(number),
            text,
        }) if *number >= LEAST => Row::ok(format!("Kubernetes {text}")),
        Ok(Version { text, .. }) => Row::fail(
            format!("Kubernetes {text}"),
            "resizing pods in place needs Kubernetes 1.33 or later: upgrade the control plane",
        ),
        Err(why) => Row::fail("the API server does not answer", why),
    }
}

fn support(support: &Known<Support>) -> Row {
    match support {
        Ok(Support::Supported) => Row::ok("the API server serves pods/resize"),
        Ok(Support::Unsupported(why)) => Row::fail(
            "pods cannot be resized in place",
            format!("{why} (feature gate InPlacePodVerticalScaling)"),
        ),
        Err(why) => unknown("the API server's resources", why),
    }
}

fn permission(permission: &Known<Permission>) -> Row {
    match permission {
        Ok(Permission { allowed, namespace }) => {
            let scope = namespace
                .as_ref()
                .map_or_else(|| "all namespaces".to_owned(), |n| format!("namespace {n}"));
            if *allowed {
                Row::ok(format!("you may patch pods/resize in {scope}"))
            } else {
                Row::warn(
                    format!("you may not patch pods/resize in {scope}"),
                    "mbcas resize and mbcas restore need it; a rule for pods does not include it, name pods/resize. \
                     The controller has a service account of its own",
                )
            }
        }
        Err(why) => unknown("your own permissions", why),
    }
}

fn node(node: &NodeFacts) -> Row {
    let what = format!(
        "node {}: kubelet {}, {}",
        node.name, node.kubelet.text, node.os
    );
    if node.os != "linux" {
        Row::warn(
            what,
            "pods on it cannot be resized in place and do not take part",
        )
    } else if node.kubelet.number.is_none_or(|number| number < LEAST) {
        Row::warn(
            what,
            "its kubelet cannot resize pods: upgrade it to 1.33 or later; until then its pods do not take part",
        )
    } else if node.ready {
        Row::ok(what)
    } else {
        Row::warn(
            format!("{what}, not ready"),
            "nothing on it is resized until it is ready",
        )
    }
}

/// Whether MBCAS is installed and well at `now`.
pub fn installation(facts: &InstallationFacts, now: Timestamp) -> Vec<Row> {
    let namespace = &facts.namespace;
    let absent = |part: &Known<Option<DeploymentFacts>>| matches!(part, Ok(None));
    let nothing = matches!(facts.webhook, Ok(None))
        && absent(&facts.webhook_deployment)
        && absent(&facts.controller_deployment);
    if nothing {
        return vec![Row::fail(
            format!("MBCAS is not installed (looked in namespace {namespace})"),
            "helm install mbcas ./chart --namespace mbcas-system --create-namespace; before that, mbcas check --pre is enough",
        )];
    }
    vec![
        webhook(&facts.webhook),
        deployment(
            "mbcas-webhook",
            namespace,
            &facts.webhook_deployment,
            "new pods start without MBCAS until it is back",
        ),
        deployment(
            "mbcas-controller",
            namespace,
            &facts.controller_deployment,
            "limits stay as they are until it is back",
        ),
        lease(namespace, &facts.lease, now),
    ]
}

fn webhook(webhook: &Known<Option<bool>>) -> Row {
    let what = format!("webhook configuration {WEBHOOK_CONFIGURATION}");
    match webhook {
        Ok(Some(true)) => Row::ok(format!("{what} has a CA bundle")),
        Ok(Some(false)) => Row::fail(
            format!("{what} has no CA bundle: no pod is admitted"),
            "the webhook writes it when it starts: see its logs",
        ),
        Ok(None) => Row::fail(
            format!("{what} is missing: no pod is admitted"),
            "helm upgrade puts it back",
        ),
        Err(why) => unknown(&what, why),
    }
}

fn deployment(
    name: &str,
    namespace: &str,
    facts: &Known<Option<DeploymentFacts>>,
    meanwhile: &str,
) -> Row {
    let what = format!("Deployment {namespace}/{name}");
    let logs = format!("{meanwhile}; kubectl --namespace {namespace} describe deployment {name}");
    match facts {
        Ok(Some(DeploymentFacts { wanted: 0, .. })) => Row::fail(
            format!("{what} is scaled to 0"),
            format!(
                "{meanwhile}; kubectl --namespace {namespace} scale deployment {name} --replicas 2"
            ),
        ),
        Ok(Some(DeploymentFacts { wanted, available })) => {
            let what = format!("{what}: {available} of {wanted} replicas available");
            match available {
                0 => Row::fail(what, logs),
                some if some < wanted => Row::warn(what, logs),
                _ => Row::ok(what),
            }
        }
        Ok(None) => Row::fail(
            format!("{what} is missing"),
            format!("{meanwhile}; helm upgrade puts it back"),
        ),
        Err(why) => unknown(&what, why),
    }
}

fn lease(namespace: &str, lease: &Known<Option<LeaseFacts>>, now: Timestamp) -> Row {
    const HINT: &str = "no controller leads, so nothing is resized: see the controller's logs";
    let what = format!("Lease {namespace}/mbcas-controller");
    match lease {
        Ok(Some(LeaseFacts {
            holder,
            until: Some(until),
        })) if !holder.is_empty() && *until > now => Row::ok(format!("{what} is held by {holder}")),
        Ok(Some(LeaseFacts { holder, .. })) if holder.is_empty() => {
            Row::fail(format!("{what} is held by nobody"), HINT)
        }
        Ok(Some(LeaseFacts { holder, .. })) => {
            Row::fail(format!("{what} has run out; {holder} held it last"), HINT)
        }
        Ok(None) => Row::fail(format!("{what} does not exist"), HINT),
        Err(why) => unknown(&what, why),
    }
}

#[cfg(test)]
mod tests;
