//! Value sets: what a user may set, alone and every two together.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::{scratch, workspace};

/// What there is to choose, with the ways to choose; not choosing is one more.
const CHOICES: [(&str, &[&str]); 25] = [
    (
        "certificates",
        &[
            "certificates: {mode: cert-manager}",
            "certificates: {mode: cert-manager, secretName: tls, certManager: {issuerRef: {name: corp, kind: ClusterIssuer}, duration: 24h, renewBefore: 8h}}",
            r#"certificates: {mode: provided, secretName: tls, caBundle: "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"}"#,
        ],
    ),
    ("leaves", &["certificates: {auto: {duration: 24h}}"]),
    ("warnings", &["warnings: {enabled: false}"]),
    ("audit", &["audit: {enabled: false}"]),
    ("guards", &["guards: {enabled: false}"]),
    ("crds", &["crds: {install: false}", "crds: {keep: false}"]),
    (
        "replicas",
        &[
            "{webhook: {replicas: 1}, controller: {replicas: 0}}",
            "{webhook: {replicas: 5}, controller: {replicas: 3}}",
        ],
    ),
    (
        "disruption",
        &[
            "{webhook: {podDisruptionBudget: {enabled: false}}, controller: {podDisruptionBudget: {enabled: false}}}",
            "webhook: {podDisruptionBudget: {maxUnavailable: 40%}}",
        ],
    ),
    (
        "mode",
        &[
            "controller: {mode: observe, podMetrics: false}",
            "controller: {mode: recommend, intervalSeconds: 60, reserve: 500m, kubeletTLS: insecure, podRecommendations: true}",
            "controller: {canaryPercent: 10}",
            "restore: {enabled: false, deadMan: {after: 1h, schedule: '0 * * * *'}}",
            "restore: {deadMan: {enabled: false}}",
            "controller: {kubeletTLS: caBundle, kubeletCA: {configMap: kubelets, key: bundle.pem}}",
            "controller: {prometheus: {url: 'http://prometheus.monitoring:9090'}}",
            "controller: {prometheus: {url: 'https://metrics.example/prom', query: up, ca: {configMap: cas}, token: {secret: reader, key: t}}}",
        ],
    ),
    (
        "network",
        &["webhook: {hostNetwork: true}", "webhook: {port: 10250}"],
    ),
    (
        "networkPolicy",
        &[
            "networkPolicy: {enabled: true}",
            "networkPolicy: {enabled: true, apiServerPorts: [16443], metricsFrom: [{podSelector: {matchLabels: {app: prometheus}}}]}",
        ],
    ),
    (
        "image",
        &[
            "image: {digest: 'sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef', pullPolicy: Always}",
            "{global: {imageRegistry: registry.example, imagePullSecrets: [{name: a}]}, imagePullSecrets: [{name: a}, {name: b}]}",
        ],
    ),
    (
        "labels",
        &["{commonLabels: {team: platform}, commonAnnotations: {example.com/owner: platform}}"],
    ),
    ("openshift", &["openshift: true"]),
    ("restore", &["restore: {enabled: false}"]),
    ("tests", &["tests: {enabled: false}"]),
    ("view", &["rbac: {aggregateToView: false}"]),
    (
        "priority",
        &[
            "priorityQuota: {enabled: false}",
            "{webhook: {priorityClassName: ''}, controller: {priorityClassName: ''}}",
        ],
    ),
    ("flowControl", &["flowControl: {enabled: true, shares: 30}"]),
    (
        "serviceMonitor",
        &[
            "monitoring: {serviceMonitor: {enabled: true}}",
            "monitoring: {serviceMonitor: {enabled: true, interval: 10s, labels: {release: prometheus}}}",
        ],
    ),
    (
        "podMonitor",
        &["monitoring: {podMonitor: {enabled: true, interval: 1m}}"],
    ),
    (
        "rules",
        &[
            "monitoring: {rules: {enabled: true, runbookUrl: 'https://wiki.example/mbcas', labels: {release: prometheus}}}",
        ],
    ),
    (
        "dashboard",
        &[
            "monitoring: {dashboard: {enabled: true, labels: {team: platform}}}",
            "monitoring: {dashboard: {enabled: true, folder: CPU, operator: {enabled: true, instanceSelector: {matchLabels: {a: b}}}}}",
        ],
    ),
    (
        "placement",
        &[
            "{webhook: {nodeSelector: {pool: system}, tolerations: [{key: CriticalAddonsOnly, operator: Exists}], podLabels: {a: b}, podAnnotations: {a: b}, \
          affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: arch, operator: In, values: [arm64]}]}]}}}, \
          topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule}]}, \
          controller: {tolerations: [{effect: NoSchedule, operator: Exists}], resources: {limits: {cpu: 2, memory: 1Gi}}}}",
        ],
    ),
    (
        "extraObjects",
        &[
            r#"extraObjects: [{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {release: "{{ .Release.Name }}"}}, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b-{{ .Release.Name }}\n"]"#,
        ],
    ),
];

/// Versions of Kubernetes to render for: the oldest there is a chart for, and the first that gets more of it.
pub(crate) const CLUSTERS: [&str; 2] = ["1.33.0", "1.36.0"];

/// Values to render with, in a file, and the version of Kubernetes.
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    pub(crate) cluster: &'static str,
}

/// The choices by number: which way, 0 for none, of each.
type Choice = [usize; CHOICES.len()];

/// Every set: the chart's own files, each way alone, and as many as it takes
/// for every two ways of two choices to meet; the versions take turns.
pub(crate) fn all() -> Vec<Set> {
    let mut sets: Vec<Set> = files();
    let alone = (0..CHOICES.len()).flat_map(|at| {
        (1..=CHOICES[at].1.len()).map(move |way| {
            let mut choice = [0; CHOICES.len()];
            choice[at] = way;
            (format!("{} {way} alone", CHOICES[at].0), choice)
        })
    });
    let together = pairwise().into_iter().enumerate();
    let together = together.map(|(number, choice)| (format!("pairs {number:02}"), choice));
    sets.extend(
        alone
            .chain(together)
            .map(|(name, choice)| written(name, choice)),
    );
    for (set, cluster) in sets.iter_mut().zip(CLUSTERS.into_iter().cycle()) {
        set.cluster = cluster;
    }
    sets
}

/// The sets that come as files, for people to read and to copy from.
fn files() -> Vec<Set> {
    let chart = workspace().join("chart");
    let entries = std::fs::read_dir(chart.join("ci")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.push(chart.join("values-ha.yaml"));
    files.sort();
    let name = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().into_owned();
    files
        .into_iter()
        .map(|file| Set {
            name: name(&file),
            file,
            cluster: CLUSTERS[0],
        })
        .collect()
}

fn written(name: String, choice: Choice) -> Set {
    let mut values = Value::Object(serde_json::Map::new());
    for (at, way) in choice.into_iter().enumerate().filter(|(_, way)| *way > 0) {
        merge(
            &mut values,
            serde_saphyr::from_str(CHOICES[at].1[way - 1]).unwrap(),
        );
    }
    let file = scratch("sets").join(format!("{}.json", name.replace(' ', "-")));
    std::fs::write(&file, serde_json::to_string_pretty(&values).unwrap()).unwrap();
    Set {
        name,
        file,
        cluster: CLUSTERS[0],
    }
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// A greedy covering array: for every two choices, each way of the one meets each way of the other.
fn pairwise() -> Vec<Choice> {
    let ways = |at: usize| CHOICES[at].1.len() + 1;
    let mut open = std::collections::BTreeSet::new();
    for one in 0..CHOICES.len() {
        for two in one + 1..CHOICES.len() {
            open.extend((0..ways(one)).flat_map(|a| (0..ways(two)).map(move |b| (one, a, two, b))));
        }
    }
    let mut rows = Vec::new();
    while let Some(&(one, a, two, b)) = open.first() {
        let mut row: [Option<usize>; CHOICES.len()] = [None; CHOICES.len()];
        (row[one], row[two]) = (Some(a), Some(b));
        for at in 0..CHOICES.len() {
            if row[at].is_none() {
                let gain = |way: usize| {
                    let others = row
                        .iter()
                        .enumerate()
                        .filter_map(|(other, w)| Some((other, (*w)?)));
                    others
                        .filter(|(other, w)| open.contains(&ordered((at, way), (*other, *w))))
                        .count()
                };
                // Of several that gain as much, not to choose comes first.
                row[at] = (0..ways(at)).rev().max_by_key(|way| gain(*way));
            }
        }
        let row = row.map(Option::unwrap_or_default);
        for one in 0..CHOICES.len() {
            for two in one + 1..CHOICES.len() {
                open.remove(&(one, row[one], two, row[two]));
            }
        }
        rows.push(row);
    }
    rows
}

fn ordered(one: (usize, usize), two: (usize, usize)) -> (usize, usize, usize, usize) {
    let (one, two) = if one.0 < two.0 {
        (one, two)
    } else {
        (two, one)
    };
    (one.0, one.1, two.0, two.1)
}

#[test]
fn every_two_ways_of_two_choices_meet_in_a_set() {
    let rows = pairwise();
    for one in 0..CHOICES.len() {
        for two in one + 1..CHOICES.len() {
            for a in 0..=CHOICES[one].1.len() {
                for b in 0..=CHOICES[two].1.len() {
                    let met = rows.iter().any(|row| row[one] == a && row[two] == b);
                    assert!(met, "{} {a} and {} {b}", CHOICES[one].0, CHOICES[two].0);
                }
            }
        }
    }
    assert!(
        rows.len() < 40,
        "{} sets are more than it takes",
        rows.len()
    );
}
