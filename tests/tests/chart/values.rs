//! values.yaml, its schema, its documentation and the processes that read it say the same.

use std::collections::{BTreeMap, BTreeSet};

use clap::CommandFactory;
use serde_json::Value;

use crate::support::{find, list, rendered, text, workspace};

/// Environment variables that the chart leaves alone as a rule: the ports are part of the design,
/// authorities are named with controller.kubeletTLS=caBundle alone, and Prometheus with its URL.
const LEFT_ALONE: [&str; 6] = [
    "MBCAS_ADMIN_ADDR",
    "MBCAS_KUBELET_CA",
    "MBCAS_PROMETHEUS_CA",
    "MBCAS_PROMETHEUS_QUERY",
    "MBCAS_PROMETHEUS_TOKEN",
    "MBCAS_PROMETHEUS_URL",
];
/// Those whose value only the release or the pod can know.
const KNOWN_LATER: [&str; 3] = ["MBCAS_AGENT_IMAGE", "MBCAS_NAMESPACE", "MBCAS_POD"];

/// Marks between which chart/README.md holds the table of values.
const TABLE: [&str; 2] = ["<!-- values: begin -->\n", "<!-- values: end -->\n"];

/// A value as values.yaml documents it.
#[derive(Debug)]
struct Documented {
    path: String,
    default: String,
    meaning: String,
}

/// Every value with a comment `# --` above it, in the file's order.
fn documented() -> (Vec<Documented>, Vec<String>) {
    let text = text("chart/values.yaml");
    let defaults: Value = serde_saphyr::from_str(&text).unwrap();
    let (mut found, mut silent) = (Vec::new(), Vec::new());
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut comment: Option<String> = None;
    let mut inside: Option<usize> = None;
    for line in text.lines() {
        let (depth, trimmed) = (line.len() - line.trim_start().len(), line.trim());
        if let Some(said) = trimmed.strip_prefix('#') {
            let said = said.trim();
            match (said.strip_prefix("-- "), &mut comment) {
                (Some(first), _) => comment = Some(first.to_owned()),
                (None, Some(text)) => text.extend([" ", said]),
                (None, None) => {}
            }
            continue;
        }
        let Some((key, rest)) = trimmed.split_once(':') else {
            comment = None;
            continue;
        };
        if inside.is_some_and(|outer| depth > outer) {
            continue;
        }
        inside = None;
        path.retain(|(outer, _)| *outer < depth);
        path.push((depth, key.to_owned()));
        let keys: Vec<_> = path.iter().map(|(_, key)| key.as_str()).collect();
        if let Some(meaning) = comment.take() {
            let value = defaults.pointer(&format!("/{}", keys.join("/"))).unwrap();
            found.push(Documented {
                path: keys.join("."),
                default: value.to_string(),
                meaning,
            });
            inside = Some(depth);
        } else if !rest.trim().is_empty() {
            silent.push(line.to_owned());
        }
    }
    (found, silent)
}

#[test]
fn every_value_says_what_it_is() {
    let (found, silent) = documented();
    assert!(
        silent.is_empty(),
        "values.yaml, no `# --` above:\n{}",
        silent.join("\n")
    );
    assert!(found.len() > 60, "only {} values were found", found.len());
}

#[test]
fn the_readme_lists_every_value() {
    let row = |value: Documented| {
        let cell = |text: &str| text.replace('|', "\\|");
        format!(
            "| `{}` | `{}` | {} |\n",
            value.path,
            cell(&value.default),
            cell(&value.meaning)
        )
    };
    let rows: Vec<_> = documented().0.into_iter().map(row).collect();
    let table = format!(
        "| value | default | meaning |\n| --- | --- | --- |\n{}",
        rows.concat()
    );
    let readme = text("chart/README.md");
    let [begin, end] = TABLE;
    let (head, rest) = readme
        .split_once(begin)
        .expect("chart/README.md has no table of values");
    let (found, tail) = rest.split_once(end).unwrap();
    if std::env::var_os("MBCAS_UPDATE").is_some() {
        let new = [head, begin, &table, end, tail].concat();
        std::fs::write(workspace().join("chart/README.md"), new).unwrap();
    } else {
        assert_eq!(
            found, table,
            "write it anew: MBCAS_UPDATE=1 cargo test … --test chart readme"
        );
    }
}

/// The properties that a schema describes, by path; references followed.
pub(crate) fn schema_paths() -> BTreeMap<String, Value> {
    fn walk(root: &Value, schema: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
        let target = schema["$ref"]
            .as_str()
            .map(|name| root.pointer(name.trim_start_matches('#')).unwrap());
        let schema = target.unwrap_or(schema);
        found.insert(path.to_owned(), schema.clone());
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            walk(
                root,
                inner,
                format!("{path}.{key}").trim_start_matches('.'),
                found,
            );
        }
        if schema["items"].is_object() {
            walk(root, &schema["items"], &format!("{path}[]"), found);
        }
    }
    let schema: Value = serde_json::from_str(&text("chart/values.schema.json")).unwrap();
    let mut found = BTreeMap::new();
    walk(&schema, &schema, "", &mut found);
    found
}

#[test]
fn schema_and_values_have_the_same_keys() {
    fn paths(
        value: &Value,
        path: &str,
        schema: &BTreeMap<String, Value>,
        found: &mut BTreeSet<String>,
    ) {
        found.insert(path.to_owned());
        // A map without a default is the user's own; what may be in it the schema says alone.
        let described = schema
            .get(path)
            .is_some_and(|s| s["properties"].is_object());
        let own = value.as_object().is_some_and(|map| !map.is_empty());
        if described && own {
            for (key, inner) in value.as_object().unwrap() {
                paths(
                    inner,
                    format!("{path}.{key}").trim_start_matches('.'),
                    schema,
                    found,
                );
            }
        }
    }
    let schema = schema_paths();
    let values: Value = serde_saphyr::from_str(&text("chart/values.yaml")).unwrap();
    let mut found = BTreeSet::new();
    paths(&values, "", &schema, &mut found);
    let unknown: Vec<_> = found
        .iter()
        .filter(|path| !schema.contains_key(*path))
        .collect();
    assert!(
        unknown.is_empty(),
        "values.yaml has what its schema has not: {unknown:?}"
    );
    let top = |path: &String| {
        !path.contains("[]")
            && values
                .pointer(&format!("/{}", path.replace('.', "/")))
                .is_none()
    };
    // Below a map that is empty by default there is nothing to compare.
    let optional = |path: &String| {
        found
            .iter()
            .any(|known| path.starts_with(&format!("{known}.")) && is_empty(&values, known))
            || ["requests.cpu", "requests.memory", "limits.cpu"]
                .iter()
                .any(|end| path.ends_with(end))
    };
    let missing: Vec<_> = schema
        .keys()
        .filter(|path| !path.is_empty() && top(path) && !optional(path))
        .collect();
    assert!(
        missing.is_empty(),
        "the schema has what values.yaml has not: {missing:?}"
    );
}

fn is_empty(values: &Value, path: &str) -> bool {
    let value = values.pointer(&format!("/{}", path.replace('.', "/")));
    value
        .and_then(Value::as_object)
        .is_some_and(serde_json::Map::is_empty)
}

/// What a Deployment's only container gets as environment; no value where the pod gives it.
fn environment(objects: &[Value], deployment: &str) -> BTreeMap<String, Option<String>> {
    let object = find(objects, "Deployment", deployment);
    let env = list(&object["spec"]["template"]["spec"]["containers"][0]["env"]);
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

/// What the C library reads, before the program does.
const ALLOCATOR: &str = "GLIBC_TUNABLES";

#[test]
fn flags_environment_and_values_agree() {
    let objects = rendered(&[]);
    let mut faults = Vec::new();
    for (deployment, command) in [
        ("mbcas-webhook", mbcas_webhook::args::Args::command()),
        ("mbcas-controller", mbcas_controller::args::Args::command()),
    ] {
        let (set, read) = (environment(&objects, deployment), arguments(&command));
        let is_read = |name: &String| read.contains_key(name) || name == ALLOCATOR;
        let unread = set.keys().filter(|name| !is_read(name));
        faults.extend(unread.map(|name| format!("{deployment}: nobody reads {name}")));
        for (name, default) in read {
            match set.get(&name) {
                None if LEFT_ALONE.contains(&name.as_str()) => {}
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
fn the_chart_has_the_workspaces_version_and_names_its_own_images() {
    let chart: Value = serde_saphyr::from_str(&text("chart/Chart.yaml")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        (chart["version"].as_str(), chart["appVersion"].as_str()),
        (Some(version), Some(version))
    );
    let annotation = |key: &str| {
        chart["annotations"][format!("artifacthub.io/{key}")]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let images: Vec<Value> = serde_saphyr::from_str(&annotation("images")).unwrap();
    let values: Value = serde_saphyr::from_str(&text("chart/values.yaml")).unwrap();
    for (image, values) in images
        .iter()
        .zip([&values["image"], &values["agent"]["image"]])
    {
        let reference = format!(
            "{}/{}:{version}",
            values["registry"].as_str().unwrap(),
            values["repository"].as_str().unwrap()
        );
        assert_eq!(image["image"], reference.as_str());
    }
    assert_eq!(images.len(), 2);
    let _: Vec<Value> = serde_saphyr::from_str(&annotation("changes")).unwrap();
    let crds: Vec<Value> = serde_saphyr::from_str(&annotation("crds")).unwrap();
    assert_eq!(crds[0]["kind"], "BudgetPolicy");
    let examples: Vec<Value> = serde_saphyr::from_str(&annotation("crdsExamples")).unwrap();
    assert_eq!(examples[0]["metadata"]["name"], "default");
}
