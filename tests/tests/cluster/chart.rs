//! The chart as helm renders it: what is not a matter of a running cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use clap::CommandFactory;
use serde_json::Value;

use crate::support::environment::{binary, helm, output_of, workspace};
use crate::support::release::{NAME, NAMESPACE, values};

/// Environment variables that the chart leaves alone, because the ports are part of the design.
const FIXED: [&str; 2] = ["MBCAS_ADMIN_ADDR", "MBCAS_WEBHOOK_ADDR"];
/// Those whose value only the release or the pod can know.
const KNOWN_LATER: [&str; 3] = ["MBCAS_AGENT_IMAGE", "MBCAS_NAMESPACE", "MBCAS_POD"];

fn template(words: &[&str]) -> Command {
    let mut command = helm();
    command
        .args([
            "template",
            NAME,
            "./chart",
            "--namespace",
            NAMESPACE,
            "--kube-version",
            "1.33.0",
        ])
        .args(words);
    command
}

fn rendered() -> Vec<Value> {
    let values = values();
    let words: Vec<_> = values.iter().map(String::as_str).collect();
    let text = output_of(&mut template(&words));
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect()
}

fn object(kind: &str, name: &str) -> Value {
    let found = rendered()
        .into_iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("the chart has no {kind} {name}"))
}

/// What helm says when it refuses.
fn refusal(words: &[&str]) -> String {
    let output = template(words).output().unwrap();
    assert!(!output.status.success(), "{words:?} was taken");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_webhook_fails_open_fast_and_never_reaches_the_clusters_own_namespaces() {
    let configuration = object("MutatingWebhookConfiguration", "00-mbcas");
    let webhooks = configuration["webhooks"].as_array().unwrap();
    assert_eq!(webhooks.len(), 1);
    let webhook = &webhooks[0];
    assert_eq!(webhook["failurePolicy"], "Ignore");
    assert_eq!(webhook["timeoutSeconds"], 2);
    assert_eq!(
        webhook["clientConfig"].get("caBundle"),
        None,
        "it is the webhook's own to write"
    );
    assert_eq!(
        webhook["rules"][0]["resources"],
        serde_json::json!(["pods"])
    );
    spares_the_clusters_own(&webhook["namespaceSelector"]);
}

#[test]
fn no_webhook_fails_closed_and_every_policy_spares_the_clusters_own_namespaces() {
    for object in rendered() {
        for webhook in object["webhooks"].as_array().into_iter().flatten() {
            assert_eq!(
                webhook["failurePolicy"], "Ignore",
                "{}",
                object["metadata"]["name"]
            );
        }
        if object["kind"] == "ValidatingAdmissionPolicy" {
            spares_the_clusters_own(&object["spec"]["matchConstraints"]["namespaceSelector"]);
        }
    }
}

fn spares_the_clusters_own(selector: &Value) {
    let expressions = selector["matchExpressions"].as_array().unwrap();
    let spared = expressions
        .iter()
        .find(|e| e["operator"] == "NotIn")
        .expect("nobody is spared");
    assert_eq!(spared["key"], "kubernetes.io/metadata.name");
    let spared: BTreeSet<_> = spared["values"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for namespace in ["kube-system", "kube-public", "kube-node-lease", NAMESPACE] {
        assert!(spared.contains(namespace), "{namespace} is not spared");
    }
    let label = expressions
        .iter()
        .find(|e| e["key"] == mbcas_api::names::INJECTION_LABEL);
    assert_eq!(
        label.expect("every namespace is reached")["values"],
        serde_json::json!(["enabled"])
    );
}

#[test]
fn two_renders_are_the_same_to_the_byte() {
    let render = || output_of(&mut template(&[]));
    assert_eq!(render(), render());
}

#[test]
fn an_unknown_value_and_an_impossible_one_are_refused_by_name() {
    assert!(refusal(&["--set", "contrller.mode=auto"]).contains("contrller"));
    assert!(refusal(&["--set", "controller.mood=auto"]).contains("mood"));
    assert!(refusal(&["--set", "controller.mode=fast"]).contains("mode"));
    assert!(refusal(&["--set", "controller.intervalSeconds=1"]).contains("intervalSeconds"));
    assert!(refusal(&["--set", "webhook.replicas=many"]).contains("replicas"));
}

#[test]
fn a_kubernetes_without_native_sidecars_and_resize_is_refused() {
    let old = refusal(&["--kube-version", "1.32.9"]);
    assert!(old.contains("1.33"), "{old}");
    output_of(&mut template(&["--kube-version", "v1.33.1-gke.1000"]));
}

/// The lines of a file of the chart.
fn lines(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(workspace().join("chart").join(file)).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn every_value_says_what_it_is() {
    let lines = lines("values.yaml");
    let depth = |line: &str| line.len() - line.trim_start().len();
    // Depths at which a documented block began: what is deeper belongs to it.
    let mut documented: Vec<usize> = Vec::new();
    let mut silent = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some((key, value)) = line.trim_start().split_once(':') else {
            continue;
        };
        if key.starts_with('#') || key.starts_with('-') {
            continue;
        }
        documented.retain(|outer| *outer < depth(line));
        let comment = lines[..number]
            .iter()
            .rev()
            .take_while(|above| above.trim_start().starts_with('#'));
        if comment
            .into_iter()
            .any(|above| above.trim_start().starts_with("# --"))
        {
            documented.push(depth(line));
        } else if !value.trim().is_empty() && documented.is_empty() {
            silent.push(format!("{}: {}", number + 1, line.trim()));
        }
    }
    assert!(
        silent.is_empty(),
        "values.yaml, no `# --` above:\n{}",
        silent.join("\n")
    );
}

#[test]
fn every_rule_of_a_role_says_what_it_is_for() {
    let mut silent = Vec::new();
    for file in [
        "templates/controller/rbac.yaml",
        "templates/webhook/rbac.yaml",
        "templates/restore/job.yaml",
    ] {
        let lines = lines(file);
        let pairs = lines.iter().zip(lines.iter().skip(1)).enumerate();
        let rules = pairs.filter(|(_, (_, line))| line.trim_start().starts_with("- apiGroups:"));
        let unexplained = rules.filter(|(_, (above, _))| !above.trim_start().starts_with('#'));
        silent.extend(
            unexplained
                .map(|(number, (_, line))| format!("{file}:{}: {}", number + 2, line.trim())),
        );
    }
    assert!(
        silent.is_empty(),
        "no comment above:\n{}",
        silent.join("\n")
    );
}

/// What a Deployment's only container gets as environment; no value where the pod gives it.
fn environment(deployment: &str) -> BTreeMap<String, Option<String>> {
    let object = object("Deployment", deployment);
    let env = object["spec"]["template"]["spec"]["containers"][0]["env"]
        .as_array()
        .unwrap()
        .clone();
    let pair = |entry: &Value| {
        let value = entry["value"].as_str().map(str::to_owned);
        (entry["name"].as_str().unwrap().to_owned(), value)
    };
    env.iter().map(pair).collect()
}

/// Every environment variable that a command reads, with its default.
fn arguments(command: &clap::Command) -> BTreeMap<String, Option<String>> {
    let read = command.get_arguments().filter_map(|argument| {
        let name = argument.get_env()?.to_str()?.to_owned();
        let default = argument
            .get_default_values()
            .first()
            .and_then(|value| value.to_str());
        Some((name, default.map(str::to_owned)))
    });
    read.collect()
}

#[test]
fn flags_environment_and_values_agree() {
    let mut faults = Vec::new();
    for (deployment, command) in [
        ("mbcas-webhook", mbcas_webhook::args::Args::command()),
        ("mbcas-controller", mbcas_controller::args::Args::command()),
    ] {
        let (set, read) = (environment(deployment), arguments(&command));
        let unread = set.keys().filter(|name| !read.contains_key(*name));
        faults.extend(unread.map(|name| format!("{deployment}: nobody reads {name}")));
        for (name, default) in read {
            match set.get(&name) {
                None if FIXED.contains(&name.as_str()) => {}
                None => faults.push(format!("{deployment}: the chart does not set {name}")),
                Some(value) if *value == default || KNOWN_LATER.contains(&name.as_str()) => {}
                Some(value) => faults.push(format!(
                    "{deployment}: {name} is {value:?} in the chart, and {default:?} is the flag's default"
                )),
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_agent_reads_all_that_the_webhook_tells_it() {
    let help = output_of(Command::new(binary("agent", "mbcas-demand-agent")).arg("--help"));
    let values = ["example/agent:1", "10m", "100m", "16Mi", "32Mi"].map(str::to_owned);
    let [image, cpu_request, cpu_limit, memory_request, memory_limit] = values;
    let pull_policy = mbcas_webhook::PullPolicy::default();
    let agent = mbcas_webhook::AgentSpec {
        image,
        pull_policy,
        cpu_request,
        cpu_limit,
        memory_request,
        memory_limit,
    };
    let app = "http://localhost:8081/metrics#lab_queue_depth"
        .parse()
        .unwrap();
    let sidecar = mbcas_webhook::sidecar::container(&agent, "app", Some(&app));
    for variable in sidecar["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        assert!(
            help.contains(&format!("[env: {name}=")),
            "the agent does not read {name}:\n{help}"
        );
    }
}
