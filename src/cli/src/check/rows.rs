//! Judging the facts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mbcas_actuator::Support;
use mbcas_api::NotParticipant;
use mbcas_api::names::{INJECTION_ENABLED, INJECTION_LABEL, WEBHOOK_CONFIGURATION};

use super::Row;
use super::facts::{
    ClusterFacts, DeploymentFacts, InstallationFacts, Known, LeaseFacts, NamespaceFacts, NodeFacts,
    ParticipationFacts, Permission, PodFacts, Standing, Version,
};

/// The first Kubernetes that has in-place resize switched on.
const LEAST: (u32, u32) = (1, 33);
/// Names that one row repeats.
const NAMED: usize = 5;

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

/// Who takes part, and who means to and does not.
pub fn participation(facts: &ParticipationFacts) -> Vec<Row> {
    let mut rows = match &facts.namespaces {
        Ok(namespaces) => namespace_rows(namespaces),
        Err(why) => vec![unknown("namespaces", why)],
    };
    match &facts.pods {
        Ok(pods) => rows.extend(pod_rows(pods)),
        Err(why) => rows.push(unknown("pods", why)),
    }
    rows
}

fn namespace_rows(namespaces: &[NamespaceFacts]) -> Vec<Row> {
    let (labelled, others): (Vec<_>, Vec<_>) = namespaces
        .iter()
        .partition(|n| n.label == INJECTION_ENABLED);
    let mut rows = Vec::new();
    if labelled.is_empty() {
        rows.push(Row::warn(
            "no namespace takes part",
            format!("kubectl label namespace NAME {INJECTION_LABEL}={INJECTION_ENABLED}"),
        ));
    } else {
        let names: Vec<&str> = labelled.iter().map(|n| n.name.as_str()).collect();
        rows.push(Row::ok(format!("labelled namespaces: {}", some_of(&names))));
    }
    rows.extend(others.iter().map(|n| {
        Row::warn(
            format!(
                "namespace {}: the label {INJECTION_LABEL}={:?} does nothing",
                n.name, n.label
            ),
            format!(
                "kubectl label --overwrite namespace {} {INJECTION_LABEL}={INJECTION_ENABLED}",
                n.name
            ),
        )
    }));
    rows
}

fn pod_rows(pods: &[PodFacts]) -> Vec<Row> {
    let mut rows = Vec::new();
    let with_agent = pods
        .iter()
        .filter(|p| p.standing == Standing::Participant { has_agent: true });
    let without = pods
        .iter()
        .filter(|p| p.standing == Standing::Participant { has_agent: false });
    let (with_agent, without) = (with_agent.count(), without.count());
    if with_agent + without > 0 {
        rows.push(Row::ok(format!(
            "{} take part, {without} of them without an agent",
            pods_counted(with_agent + without)
        )));
    }
    let mut left_out: BTreeMap<NotParticipant, Vec<&PodFacts>> = BTreeMap::new();
    for pod in pods {
        if let Standing::LeftOut(reason) = &pod.standing {
            left_out.entry(reason.clone()).or_default().push(pod);
        }
    }
    rows.extend(
        left_out
            .iter()
            .map(|(reason, pods)| left_out_row(reason, pods)),
    );
    let mut skipped: BTreeMap<&str, Vec<&PodFacts>> = BTreeMap::new();
    for pod in pods {
        if let Standing::Skipped(word) = &pod.standing {
            skipped.entry(word).or_default().push(pod);
        }
    }
    rows.extend(skipped.iter().map(|(word, pods)| skipped_row(word, pods)));
    let unheard: Vec<&PodFacts> = pods
        .iter()
        .filter(|p| p.standing == Standing::Unheard)
        .collect();
    if !unheard.is_empty() {
        rows.push(Row::warn(
            format!("mbcas.enabled: \"true\" has no effect in a namespace without the label: {}", named(&unheard)),
            format!(
                "kubectl label namespace {} {INJECTION_LABEL}={INJECTION_ENABLED}, and restart its workloads",
                unheard[0].namespace
            ),
        ));
    }
    rows
}

fn left_out_row(reason: &NotParticipant, pods: &[&PodFacts]) -> Row {
    let who = |why: &str| format!("{} {why}: {}", pods_counted(pods.len()), named(pods));
    match reason {
        NotParticipant::OptedOut => Row::ok(who("opted out")),
        NotParticipant::NotRunning => Row::ok(who("not running")),
        NotParticipant::NotAdmitted => {
            let mut namespaces: Vec<&str> = pods.iter().map(|p| p.namespace.as_str()).collect();
            namespaces.dedup();
            let commands = namespaces
                .iter()
                .map(|n| format!("kubectl --namespace {n} rollout restart deployment"));
            Row::warn(
                who("not admitted (older than MBCAS or than the namespace's label)"),
                format!("restart them: {}", commands.collect::<Vec<_>>().join("; ")),
            )
        }
        NotParticipant::Malformed(why) => Row::warn(who("with malformed annotations"), why),
        NotParticipant::NoSuchContainer(name) => Row::warn(
            who(&format!(
                "without the container {name:?} that mbcas.container names"
            )),
            "name one of the pod's containers",
        ),
        NotParticipant::NoRequest => Row::warn(
            who("without a CPU request"),
            "give the container a CPU request: the floor of its market",
        ),
        NotParticipant::Guaranteed => {
            Row::ok(who("Guaranteed, which only requests mode may resize"))
        }
        NotParticipant::NotResizable => Row::warn(
            who("on a node that cannot resize pods"),
            "upgrade its kubelet to 1.33 or later",
        ),
        NotParticipant::RestartOnResize => Row::warn(
            who("whose resizePolicy restarts them on a CPU change"),
            "set resizePolicy NotRequired for cpu",
        ),
    }
}

/// `word` is one of the webhook's reasons.
fn skipped_row(word: &str, pods: &[&PodFacts]) -> Row {
    let what = format!(
        "{} left out at admission ({word}): {}",
        pods_counted(pods.len()),
        named(pods)
    );
    let hint = match word {
        // As they should be: there is nothing that anybody ought to do.
        "guaranteed" | "static_pod" | "windows" => return Row::ok(what),
        "bare_pod" => {
            "create it through a Deployment, or set mbcas.enabled: \"true\": whoever applies a bare pod again would fight the resize"
        }
        "best_effort" | "no_request" => "give the container a CPU request: the floor of its market",
        "restart_on_resize" => "set resizePolicy NotRequired for cpu",
        "pod_resources" => {
            "a pod with resources of its own is not resized: give them to its containers"
        }
        _ => "the pod's annotation mbcas.dev/injection holds the reason",
    };
    Row::warn(what, hint)
}

fn pods_counted(count: usize) -> String {
    if count == 1 {
        "1 pod".to_owned()
    } else {
        format!("{count} pods")
    }
}

fn named(pods: &[&PodFacts]) -> String {
    let names: Vec<String> = pods
        .iter()
        .map(|p| format!("{}/{}", p.namespace, p.name))
        .collect();
    some_of(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn some_of(names: &[&str]) -> String {
    let shown = names
        .iter()
        .take(NAMED)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
