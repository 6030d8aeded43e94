//! Judging who takes part.

use std::collections::BTreeMap;

use mbcas_api::NotParticipant;
use mbcas_api::names::{INJECTION_ENABLED, INJECTION_LABEL};

use super::unknown;
use crate::check::Row;
use crate::check::facts::{NamespaceFacts, ParticipationFacts, PodFacts, Standing};

/// Names that one row repeats.
const NAMED: usize = 5;

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
