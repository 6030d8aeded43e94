use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use mbcas_core::quantity::Quantity;
use mbcas_core::units::MilliCpu;
use serde_json::{Value, json};

use super::{Obstacle, Step, decide, decide_own, has_ended};
use crate::plan::plan;
use crate::request::ResizePolicy;

/// A running pod with one container that has these amounts, and that record.
fn pod(name: &str, request: &str, limit: &str, record: Option<&str>) -> Value {
    let container = crate::fixtures::container("app", request, limit);
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "shop", "uid": "11aa", "resourceVersion": "70", "generation": 3},
        "spec": {"nodeName": "node-1", "containers": [container]},
        "status": {
            "phase": "Running", "qosClass": "Burstable", "observedGeneration": 3,
            "containerStatuses": [crate::fixtures::status("app", request, limit)],
        },
    });
    if let Some(record) = record {
        pod["metadata"]["annotations"] = json!({ "mbcas.dev/original": record });
    }
    pod
}

fn typed(pod: &Value) -> Pod {
    serde_json::from_value(pod.clone()).unwrap()
}

fn nodes() -> BTreeMap<String, MilliCpu> {
    [("node-1".to_owned(), MilliCpu::new(1500))].into()
}

fn record(cpu: &str) -> String {
    format!(r#"{{"version":1,"containers":{{"app":{cpu}}}}}"#)
}

/// The steps for a pod that has these amounts now and had those of the record.
fn steps(request: &str, limit: &str, before: &str) -> Result<Vec<Step>, Obstacle> {
    decide(
        &typed(&pod("web", request, limit, Some(&record(before)))),
        &nodes(),
    )
}

fn quantity(text: &str) -> Quantity {
    Quantity::parse(text).unwrap()
}

fn step(limit: Option<&str>, request: Option<&str>) -> Step {
    Step {
        container: "app".into(),
        limit: limit.map(quantity),
        request: request.map(quantity),
        had_no_limit: false,
    }
}

#[test]
fn a_pod_that_is_as_it_was_is_left_alone() {
    assert_eq!(
        steps("100m", "200m", r#"{"request":"0.1","limit":"200m"}"#).unwrap(),
        []
    );
}

#[test]
fn a_limit_goes_back_to_what_it_was_up_or_down() {
    let before = r#"{"request":"100m","limit":"200m"}"#;
    assert_eq!(
        steps("100m", "900m", before).unwrap(),
        [step(Some("200m"), None)]
    );
    assert_eq!(
        steps("100m", "150m", before).unwrap(),
        [step(Some("200m"), None)]
    );
}

#[test]
fn a_request_goes_back_with_the_limit_in_one_write() {
    let web = typed(&pod(
        "web",
        "300m",
        "400m",
        Some(&record(r#"{"request":"100m","limit":"200m"}"#)),
    ));
    let steps = decide(&web, &nodes()).unwrap();
    assert_eq!(steps, [step(Some("200m"), Some("100m"))]);
    let request = steps[0].request(Some("11aa".into()));
    assert_eq!(
        (request.policy, request.take_over),
        (ResizePolicy::Limits, false)
    );
    let plan = plan(&web, &request, "mbcas").unwrap();
    let sent = json!({ "limits": { "cpu": "200m" }, "requests": { "cpu": "100m" } });
    assert_eq!(plan.patch["spec"]["containers"][0]["resources"], sent);
    assert_eq!(
        steps[0].detail(&plan),
        "limits.cpu 400m → 200m, requests.cpu 300m → 100m"
    );
}

#[test]
fn a_request_alone_goes_back_alone() {
    let before = r#"{"request":"100m","limit":"200m"}"#;
    assert_eq!(
        steps("150m", "200m", before).unwrap(),
        [step(None, Some("100m"))]
    );
}

#[test]
fn a_limit_that_was_absent_is_raised_to_what_the_node_has_and_that_is_said() {
    let web = typed(&pod(
        "web",
        "100m",
        "900m",
        Some(&record(r#"{"request":"100m"}"#)),
    ));
    let steps = decide(&web, &nodes()).unwrap();
    assert_eq!(
        steps,
        [Step {
            had_no_limit: true,
            ..step(Some("1500m"), None)
        }]
    );
    let plan = plan(&web, &steps[0].request(None), "mbcas").unwrap();
    let detail = steps[0].detail(&plan);
    assert!(
        detail.contains("900m → 1500m") && detail.contains("had no limit"),
        "{detail}"
    );
}

#[test]
fn a_limit_of_zero_is_none() {
    let steps = steps("100m", "900m", r#"{"request":"100m","limit":"0"}"#).unwrap();
    assert_eq!(
        steps,
        [Step {
            had_no_limit: true,
            ..step(Some("1500m"), None)
        }]
    );
}

#[test]
fn what_was_absent_and_is_no_hindrance_now_is_as_before() {
    for limit in ["1500m", "64"] {
        assert_eq!(
            steps("100m", limit, r#"{"request":"100m"}"#).unwrap(),
            [],
            "{limit}"
        );
    }
    let mut bare = pod("web", "100m", "1", Some(&record(r#"{"request":"100m"}"#)));
    bare["spec"]["containers"][0]["resources"]["limits"] = json!({});
    assert_eq!(decide(&typed(&bare), &BTreeMap::new()).unwrap(), []);
}

#[test]
fn a_request_that_was_absent_stays_since_it_cannot_be_removed() {
    assert_eq!(
        steps("100m", "300m", r#"{"limit":"200m"}"#).unwrap(),
        [step(Some("200m"), None)]
    );
}

#[test]
fn every_container_of_the_record_is_looked_at_and_no_other() {
    let record = r#"{"version":1,"containers":{"app":{"request":"100m","limit":"200m"},"log":{"request":"10m","limit":"20m"},"gone":{"limit":"1"}}}"#;
    let mut web = pod("web", "100m", "300m", Some(record));
    let new = |name: &str| json!({ "name": name, "resources": { "requests": { "cpu": "10m" }, "limits": { "cpu": "50m" } } });
    web["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .extend([new("log"), new("unknown")]);
    let names: Vec<String> = decide(&typed(&web), &nodes())
        .unwrap()
        .into_iter()
        .map(|s| s.container)
        .collect();
    assert_eq!(names, ["app", "log"]);
}

#[test]
fn a_node_that_is_unknown_is_an_obstacle_only_where_it_is_needed() {
    let web = typed(&pod(
        "web",
        "100m",
        "900m",
        Some(&record(r#"{"request":"100m"}"#)),
    ));
    let obstacle = decide(&web, &BTreeMap::new()).unwrap_err();
    assert!(
        matches!(&obstacle, Obstacle::NoAllocatable { node, .. } if node == "node-1"),
        "{obstacle}"
    );
    let limited = typed(&pod(
        "web",
        "100m",
        "900m",
        Some(&record(r#"{"limit":"1"}"#)),
    ));
    assert_eq!(decide(&limited, &BTreeMap::new()).unwrap().len(), 1);
}

#[test]
fn records_that_cannot_be_read_are_obstacles() {
    let of = |record: Option<&str>| {
        decide(&typed(&pod("web", "100m", "200m", record)), &nodes()).unwrap_err()
    };
    assert!(matches!(of(None), Obstacle::NoRecord));
    assert!(matches!(of(Some("{")), Obstacle::Record(_)));
    assert!(
        of(Some(r#"{"version":2,"containers":{}}"#))
            .to_string()
            .contains("version 2")
    );
    let lots = of(Some(&record(r#"{"limit":"lots"}"#)));
    assert!(
        matches!(&lots, Obstacle::Amount { text, .. } if text == "lots"),
        "{lots}"
    );
}

/// Somebody has set another container's limit since, and this one's request.
#[test]
fn what_others_have_set_since_is_no_step_of_ours() {
    let record = r#"{"version":1,"containers":{"app":{"request":"100m","limit":"200m"},"log":{"limit":"20m"}}}"#;
    let mut web = pod("web", "150m", "300m", Some(record));
    let log = json!({"name": "log", "resources": {"limits": {"cpu": "50m"}}});
    web["spec"]["containers"].as_array_mut().unwrap().push(log);
    let own = |web: &Value| decide_own(&typed(web), &nodes(), "mbcas").unwrap();
    assert_eq!(own(&web), []);
    let owner = |fields: &[&str]| crate::fixtures::owner("mbcas", "Apply", Some("resize"), fields);
    web["metadata"]["managedFields"] = json!([owner(&["limits.cpu"])]);
    assert_eq!(own(&web), [step(Some("200m"), None)]);
    web["metadata"]["managedFields"] = json!([owner(&["limits.cpu", "requests.cpu"])]);
    assert_eq!(own(&web), [step(Some("200m"), Some("100m"))]);
    assert_eq!(decide(&typed(&web), &nodes()).unwrap().len(), 2);
}

#[test]
fn pods_that_end_have_ended() {
    let mut web = pod("web", "1", "1", None);
    assert!(!has_ended(&typed(&web)));
    web["status"]["phase"] = json!("Succeeded");
    assert!(has_ended(&typed(&web)));
    web["status"]["phase"] = json!("Running");
    web["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(has_ended(&typed(&web)));
}

/// Amounts as owners write them; none where there is no text.
fn amounts() -> impl proptest::strategy::Strategy<Value = Option<String>> {
    use proptest::prelude::*;
    let thousandths = (1_u32..64_000).prop_map(|thousandths| format!("{thousandths}m"));
    let cores = (1_u32..64).prop_map(|cores| cores.to_string());
    let decimals = (1_u32..640).prop_map(|tenths| format!("{}.{}", tenths / 10, tenths % 10));
    let fine = (1_u32..900).prop_map(|micros| format!("{micros}u"));
    let text = prop_oneof![4 => thousandths, 2 => cores, 2 => decimals, 1 => fine];
    proptest::option::weighted(0.7, text)
}

/// 10,000, or as many as `MBCAS_CASES` says (`make test-long`: a million).
fn cases() -> proptest::test_runner::Config {
    let asked = std::env::var("MBCAS_CASES").ok();
    proptest::test_runner::Config {
        cases: asked.map_or(10_000, |cases| cases.parse().unwrap()),
        failure_persistence: None,
        ..Default::default()
    }
}

proptest::proptest! {
    #![proptest_config(cases())]

    /// Whatever the market has made of a pod, its record leads back, and then there is nothing left to do.
    #[test]
    fn a_record_leads_back_from_every_limit(
        before in proptest::collection::vec((amounts(), amounts()), 1..4),
        market in proptest::collection::vec(1_u64..64_000, 4),
    ) {
        let name = |number: usize| format!("c{number}");
        let mut containers = Vec::new();
        for (number, (request, limit)) in before.iter().enumerate() {
            let mut resources = json!({});
            for (side, amount) in [("requests", request), ("limits", limit)] {
                if let Some(amount) = amount {
                    resources[side]["cpu"] = json!(amount);
                }
            }
            containers.push(json!({"name": name(number), "resources": resources}));
        }
        let mut pod = json!({"metadata": {"name": "web"}, "spec": {"nodeName": "node-1", "containers": containers}});
        let original = mbcas_api::Original::of(&typed(&pod).spec.unwrap().containers, "c0");
        pod["metadata"]["annotations"] = json!({"mbcas.dev/original": original.to_json().unwrap()});
        for (number, to) in market.iter().enumerate().take(before.len()) {
            pod["spec"]["containers"][number]["resources"]["limits"]["cpu"] = json!(format!("{to}m"));
        }
        for step in decide(&typed(&pod), &nodes()).unwrap() {
            let number: usize = step.container[1..].parse().unwrap();
            let resources = &mut pod["spec"]["containers"][number]["resources"];
            for (side, amount) in [("limits", step.limit), ("requests", step.request)] {
                if let Some(amount) = amount {
                    resources[side]["cpu"] = json!(amount.canonical());
                }
            }
        }
        proptest::prop_assert_eq!(decide(&typed(&pod), &nodes()).unwrap(), []);
        for (number, (request, limit)) in before.iter().enumerate() {
            let now = &pod["spec"]["containers"][number]["resources"];
            let amount = |text: &str| quantity(text).rounded_up_to_milli();
            let now = |side: &str| now[side]["cpu"].as_str().map(amount);
            proptest::prop_assert_eq!(now("requests"), request.as_deref().map(amount));
            match limit {
                Some(limit) => proptest::prop_assert_eq!(now("limits"), Some(amount(limit))),
                // It cannot be removed, and hinders nobody.
                None => proptest::prop_assert!(now("limits") >= Some(quantity("1500m"))),
            }
        }
    }
}
