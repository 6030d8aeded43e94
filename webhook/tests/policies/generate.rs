//! Pods made to be misread.

use std::collections::BTreeMap;

use mbcas_core::annotations::KEYS;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value as Json, json};

/// Annotations as a pod carries them.
pub(super) type Annotations = BTreeMap<String, String>;

const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Amounts of CPU in nanocores where something may change: bounds, and round numbers beside them.
const EDGES: [u64; 10] = [
    0,
    9_000_000,
    10_000_000,
    11_000_000,
    250_000_000,
    1_000_000_000,
    1_500_000_000,
    64_000_000_000,
    9_999_999_000_000,
    10_000_000_000_000,
];

/// Texts at which readers of quantities part ways.
const ODD_AMOUNTS: [&str; 64] = [
    "",
    " ",
    "m",
    "+",
    "-",
    ".",
    "+.",
    "Ki",
    "e",
    "1e",
    "1e1e1",
    "e3",
    "1e+",
    "1e99",
    "1e-99",
    "1e400",
    "1e2147483647",
    "1e-2147483648",
    "1e4294967298",
    "1e99999999999",
    "1E",
    "10E",
    "1Ei",
    "9Ei",
    "1ki",
    "1K",
    "8Ki",
    "9.765625Ki",
    "10Ki",
    "0.01Ki",
    "1Mi",
    "1 ",
    " 1",
    "1\t",
    "\n1",
    "1\n",
    "1 m",
    "1mm",
    "1,5",
    "1_000",
    "0x10",
    "NaN",
    "inf",
    "Infinity",
    "１",
    "½",
    "1.2.3",
    "..5",
    ".5",
    "5.",
    "+0.5",
    "-1",
    "-0",
    "--1",
    "+-1",
    "00000010m",
    "010",
    "0.0000000000000000000000000001e28",
    "1000000000000000000000000000000e-28",
    "10000.00000000000001",
    "9.99999999999999999m",
    "9.00000000000000001m",
    "1.50000",
    "lots",
];

/// The same amount in one of the ways to write it.
fn written(nanos: u64) -> impl Strategy<Value = String> {
    let (whole, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (millis, fraction) = (nanos / 1_000_000, nanos % 1_000_000);
    let ways = vec![
        format!("{nanos}n"),
        format!("{}.{:03}u", nanos / 1_000, nanos % 1_000),
        format!("{millis}.{fraction:06}m"),
        format!("{millis}m"),
        format!("{whole}.{rest:09}"),
        format!("{whole}.{rest:09}00e0"),
        format!("{nanos}e-9"),
        format!("{}.{:012}k", whole / 1_000, nanos % 1_000_000_000_000),
        format!("+0{whole}.{rest:09}"),
        format!("0{millis}.{fraction:06}1m"),
    ];
    select(ways)
}

/// An amount near `edge`: on it, a nanocore beside it, a millicore or a part of one.
fn near(edge: u64) -> impl Strategy<Value = String> {
    let steps = vec![
        0_i64, 0, 1, -1, 500_000, -500_000, 999_999, -999_999, 1_000_000, -1_000_000, 1_000_001,
    ];
    select(steps).prop_flat_map(move |step| written(edge.saturating_add_signed(step)))
}

/// An amount of CPU, well-formed or not, most likely near `about`.
fn amount(about: u64) -> impl Strategy<Value = String> {
    prop_oneof![
        8 => near(about),
        3 => select(EDGES.to_vec()).prop_flat_map(near),
        2 => select(ODD_AMOUNTS.to_vec()).prop_map(str::to_owned),
        1 => "[+-]?[0-9]{0,22}(\\.[0-9]{0,12})?([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{0,3})?",
        1 => "[0-9.eEmk+ -]{0,8}",
    ]
}

fn budget() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (1_u32..1_100_000).prop_map(|n| n.to_string()),
        4 => select(vec![
            "1", "999999", "1000000", "1000001", "0", "00", "01", "0300", "+1", "-1", "1.0", "1e3", "1k", " 1", "1 ", "1\n", "",
            "9999999", "10000000", "4294967297", "99999999999999999999", "１", "٣", "0x1", "1_000", "lots",
        ]).prop_map(str::to_owned),
        1 => "[0-9]{1,9}",
        1 => "\\PC{0,4}",
    ]
}

fn metrics() -> impl Strategy<Value = String> {
    let start = select(vec![
        "http://localhost:",
        "http://localhost:",
        "http://localhost:",
        "http://localhost:",
        "https://localhost:",
        "http://127.0.0.1:",
        "HTTP://localhost:",
        "http://localhost",
        " http://localhost:",
        "http://a@localhost:",
        "",
    ]);
    let port = prop_oneof![
        (0_u32..70_000).prop_map(|port| port.to_string()),
        select(vec![
            "80", "8080", "0", "00", "00080", "65535", "65536", "065535", "+80", "", "٨٠", "8 0",
            "99999"
        ])
        .prop_map(str::to_owned),
    ];
    let path = select(vec![
        "/",
        "/",
        "/metrics",
        "/a/b-c_d.e~f%20",
        "/a?b=c",
        "/a b",
        "",
        "//",
        "/\u{e4}",
        "/a#b",
        "/\r\nX:",
        "/a:b",
    ]);
    (start, port, path, parts())
        .prop_map(|(start, port, path, parts)| format!("{start}{port}{path}{parts}"))
}

/// What comes after a path: mostly one of the forms that there are, with metrics that may be wrong.
fn parts() -> BoxedStrategy<String> {
    let good = select(vec![
        "#A",
        "#queue=A",
        "#latency=A",
        "#queue=A&latency=B",
        "#in_flight=A&workers=1",
        "#in_flight=A&workers=65535&latency=B",
    ]);
    let bad = select(vec![
        "#A&latency=B",
        "#A&B",
        "#queue=A&B",
        "#latency=A&queue=B",
        "#queue=A&queue=B",
        "#latency=A&latency=B",
        "#queue=A&latency=B&",
        "#queue=A&latency=B&latency=B",
        "#queue=A&",
        "#&latency=A",
        "#queue=A&amp;latency=B",
        "#queue=A,latency=B",
        "#queue=queue=A",
        "#in_flight=A",
        "#in_flight=A&latency=B",
        "#in_flight=A&workers=0",
        "#in_flight=A&workers=07",
        "#in_flight=A&workers=65536",
        "#in_flight=A&workers=4&",
        "#in_flight=A&workers=4&queue=B",
        "#queue=A&in_flight=B&workers=4",
        "#latency=A&in_flight=B&workers=4",
        "#workers=4&in_flight=A",
        "#Latency=A",
        "#latency = A",
        "#latency",
        "#latency:A",
        "#errors=A",
        "##A",
        "?latency=A",
        "",
    ]);
    let form = prop_oneof![2 => good, 1 => bad];
    // Both of the same kind, which is right, or each as it comes.
    let pair = prop_oneof![
        5 => (name(), name()),
        4 => (pointer(), pointer()),
        1 => (name(), pointer()),
        1 => (pointer(), name()),
    ];
    (form, pair)
        .prop_map(|(form, (a, b))| form.replace('B', b).replace('A', a))
        .boxed()
}

/// The name of a metric; without the letters that a form has.
fn name() -> impl Strategy<Value = &'static str> {
    let good = select(vec!["q", "app_queue:depth", "_", "queue", "latency"]);
    let bad = select(vec!["9q", "", "q-r", "q ", "q\n", "\u{e4}", "q.r"]);
    prop_oneof![9 => good, 1 => bad]
}

/// A pointer into JSON; without the letters that a form has.
fn pointer() -> impl Strategy<Value = &'static str> {
    let good = select(vec!["/q", "/jobs/0/wait-ing", "/./..", "/a_b.c", "/9/-"]);
    let bad = select(vec![
        "/", "//q", "/q/", "/q~1r", "/q r", "/q\n", "/\u{e4}", "/q:r", "q/r", "/q//r", "/%20",
    ]);
    prop_oneof![9 => good, 1 => bad]
}

/// An objective, at and around its bounds.
fn slo() -> impl Strategy<Value = String> {
    let odd = select(vec![
        "", "s", "ms", "250", "1.5s", "1 s", " 1s", "1s ", "1s\n", "+1s", "-1s", "01s", "00ms",
        "1m", "1us", "1S", "1MS", "1sms", "1mss", "\u{661}s", "1e3ms", "1m1s", "000250ms",
        "123456ms",
    ]);
    let edge = select(vec![
        0, 1, 9, 10, 59, 60, 61, 99, 9_999, 10_000, 59_999, 60_000, 60_001, 99_999, 100_000,
    ]);
    let unit = || select(vec!["ms", "s"]);
    prop_oneof![
        4 => (1..60_000_u32).prop_map(|millis| format!("{millis}ms")),
        2 => (1..=60_u32).prop_map(|seconds| format!("{seconds}s")),
        2 => (edge, unit()).prop_map(|(number, unit)| format!("{number}{unit}")),
        1 => odd.prop_map(str::to_owned),
        1 => ("[0-9]{0,6}", unit()).prop_map(|(number, unit)| format!("{number}{unit}")),
    ]
}

fn container() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => select(names()),
        2 => select(vec!["App", "", "-a", "a-", "a.b", "app ", "app\n", "\u{e4}pp", "none", "0"]).prop_map(str::to_owned),
        1 => "[a-z0-9-]{1,64}",
    ]
}

fn names() -> Vec<String> {
    let longest = "a".repeat(63);
    ["app", "web", "a", "0-0", &longest]
        .map(str::to_owned)
        .to_vec()
}

/// A word that is one of `known`, or nearly.
fn word(known: &'static [&'static str]) -> impl Strategy<Value = String> {
    (select(known), select(vec![0, 0, 0, 0, 1, 2, 3, 4])).prop_map(|(word, change)| match change {
        0 => word.to_owned(),
        1 => word.to_uppercase(),
        2 => format!("{word} "),
        3 => word[1..].to_owned(),
        _ => String::new(),
    })
}

/// A value for `key`.
fn value(key: &str, about: u64) -> BoxedStrategy<String> {
    match key {
        "mbcas.enabled" => word(&["true", "false"]).boxed(),
        "mbcas.budget" => budget().boxed(),
        "mbcas.minCPU" | "mbcas.maxCPU" => amount(about).boxed(),
        "mbcas.container" | DEFAULT_CONTAINER => container().boxed(),
        "mbcas.mode" => word(&["observe", "recommend", "auto"]).boxed(),
        "mbcas.agent" => word(&["sidecar", "none"]).boxed(),
        "mbcas.metrics" => metrics().boxed(),
        "mbcas.slo" => slo().boxed(),
        "mbcas.processes" => word(&["own", "shared"]).boxed(),
        _ => select(vec!["", "1", "true", "{}"])
            .prop_map(str::to_owned)
            .boxed(),
    }
}

/// Keys that are nearly ours, and ours that are not the user's.
fn strange_key() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![
            "mbcas.",
            "mbcas",
            "mbcas.dev",
            "mbcas.dev/",
            "mbcas.dev/original",
            "mbcas.dev/injection",
            "mbcas.devil/x",
            "mbcas.mincpu",
            "mbcas.minCPU.",
            "mbcas.minCpu",
            "mbcas.Budget",
            "mbcas.budget ",
            " mbcas.budget",
            "mbcas.budget/x",
            "xmbcas.budget",
            "Mbcas.budget",
            "mb\u{441}as.budget",
            "mbcas.b\u{fc}dget",
            "mbcas/budget",
            "example.org/mbcas.budget",
            "prometheus.io/scrape",
        ])
        .prop_map(str::to_owned),
        "mbcas\\.[a-zA-Z./ -]{0,80}",
        "\\PC{1,6}",
    ]
}

/// Annotations about a container that uses `about` nanocores, mostly few of them.
pub(super) fn annotations(about: u64) -> impl Strategy<Value = Annotations> {
    let keys = KEYS
        .into_iter()
        .chain([DEFAULT_CONTAINER])
        .collect::<Vec<_>>();
    let ours = proptest::sample::subsequence(keys, 0..=4).prop_flat_map(move |keys| {
        let pairs = keys
            .into_iter()
            .map(move |key| (Just(key.to_owned()), value(key, about)));
        pairs.collect::<Vec<_>>()
    });
    // Two bounds near each other are what is easiest to get wrong.
    let bounds = (near(about), near(about)).prop_map(|(min, max)| {
        vec![
            ("mbcas.minCPU".to_owned(), min),
            ("mbcas.maxCPU".to_owned(), max),
        ]
    });
    // An objective and what is measured against it, which are refused without each other. Most
    // of the addresses read well up to their metrics, lest none does.
    let address = parts().prop_map(|parts| format!("http://localhost:80/m{parts}"));
    let metrics = prop_oneof![1 => metrics().boxed(), 4 => address.boxed()];
    let latency = option::weighted(0.9, metrics.boxed());
    let latency = (latency, option::weighted(0.9, slo().boxed())).prop_map(|(metrics, slo)| {
        let pairs = [("mbcas.metrics", metrics), ("mbcas.slo", slo)];
        let present = pairs.into_iter();
        present
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect()
    });
    // Boxed, as a generator of everything would fill a test's stack.
    let latency = latency.boxed();
    let strange = (strange_key(), select(vec!["", "1", "true"]))
        .prop_map(|(key, value)| (key, value.to_owned()));
    let strange = prop_oneof![7 => Just(None), 1 => strange.prop_map(Some)];
    (prop_oneof![4 => ours, 1 => bounds, 2 => latency], strange)
        .prop_map(|(pairs, strange)| pairs.into_iter().chain(strange).collect())
}

/// A container's CPU: nothing, a request, a limit or both, near `about`.
fn resources(about: u64) -> impl Strategy<Value = Json> {
    let cpu = prop_oneof![6 => near(about), 1 => Just("0".to_owned()), 1 => Just("20k".to_owned())];
    (
        option::of(cpu.clone()),
        option::weighted(0.3, cpu),
        any::<bool>(),
    )
        .prop_map(|(request, limit, memory)| {
            let mut resources = json!({});
            let lists = [("requests", request), ("limits", limit)];
            for (list, cpu) in lists {
                if let Some(cpu) = cpu {
                    resources[list] = json!({ "cpu": cpu });
                }
            }
            if memory {
                resources["requests"]["memory"] = json!("64Mi");
            }
            resources
        })
}

/// A pod as a user may submit it.
pub(super) fn pod() -> impl Strategy<Value = Json> {
    let about = prop_oneof![select(EDGES.to_vec()), 1_000_000_u64..20_000_000_000];
    about.prop_flat_map(|about| {
        let containers = proptest::sample::subsequence(names(), 1..=3)
            .prop_shuffle()
            .prop_flat_map(move |names| {
                let all = names.into_iter().map(move |name| {
                    resources(about)
                        .prop_map(move |r| json!({"name": name, "image": "app:1", "resources": r}))
                });
                all.collect::<Vec<_>>()
            });
        (annotations(about), containers).prop_map(|(annotations, containers)| {
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "web", "annotations": annotations},
                "spec": {"containers": containers},
            })
        })
    })
}

/// The pod as policies see it: the API server takes a limit for the request that is not there.
pub(super) fn defaulted(pod: &Json) -> Json {
    let mut pod = pod.clone();
    for container in pod["spec"]["containers"].as_array_mut().unwrap() {
        let resources = &mut container["resources"];
        if let Some(limit) = resources.pointer("/limits/cpu").cloned()
            && resources.pointer("/requests/cpu").is_none()
        {
            resources["requests"]["cpu"] = limit;
        }
    }
    if pod["metadata"]["annotations"]
        .as_object()
        .is_some_and(serde_json::Map::is_empty)
    {
        pod["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("annotations");
    }
    pod
}
