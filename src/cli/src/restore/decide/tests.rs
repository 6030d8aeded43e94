use std::collections::BTreeMap;

use mbcas_actuator::{ResizePolicy, plan};
use mbcas_core::quantity::Quantity;
use mbcas_core::units::MilliCpu;
use serde_json::json;

use super::{Obstacle, Step, decide, has_ended};
use crate::fixtures::{pod, typed};

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
