use serde_json::{Value, json};

use super::*;
use crate::admit::judge;

fn read(pod: &Value) -> Result<Outline, serde_json::Error> {
    serde_json::from_str(&pod.to_string())
}

#[test]
fn what_is_not_looked_at_is_not_read() {
    let mut pod = crate::admit::tests::pod();
    let Outline(plain) = read(&pod).unwrap();
    pod["spec"]["containers"][0]["env"] = json!([{"name": 7}]);
    pod["spec"]["future"] = json!({"deep": [1, null]});
    pod["metadata"]["managedFields"] = json!("of another shape");
    pod["status"] = json!([]);
    assert_eq!(read(&pod).unwrap().0, plain);
}

#[test]
fn its_name_is_the_pods_or_what_that_will_begin_with() {
    let named = |metadata: Value| {
        read(&json!({ "metadata": metadata }))
            .unwrap()
            .name()
            .to_owned()
    };
    assert_eq!(named(json!({"name": "", "generateName": "web-"})), "web-");
    assert_eq!(named(json!({"name": "web", "generateName": "web-"})), "web");
    assert_eq!(named(json!({})), "");
}

#[test]
fn lists_have_an_end() {
    let with = |path: &str, list: Value| {
        let mut pod = crate::admit::tests::pod();
        pod["spec"]["volumes"] = json!([]);
        pod["spec"]["containers"][0]["ports"] = json!([]);
        *pod.pointer_mut(path).unwrap() = list;
        let Outline(pod) = read(&pod).unwrap();
        (excess(&pod), pod)
    };
    for (path, most) in [
        ("/spec/containers", MOST_PARTS),
        ("/spec/volumes", MOST_PARTS),
        ("/spec/containers/0/ports", MOST_ENTRIES),
        ("/metadata/ownerReferences", MOST_ENTRIES),
    ] {
        assert_eq!(with(path, json!(vec![json!({}); most])).0, None, "{path}");
        let (fault, _) = with(path, json!(vec![json!({}); most + 1]));
        let fault = fault.unwrap();
        assert!(
            fault.contains(&format!("more than {most} entries")),
            "{fault}"
        );
        // Of what is beyond nothing is kept.
        let (fault, pod) = with(path, json!(vec![json!({}); most * 3]));
        assert!(fault.is_some(), "{path}");
        let longest = [
            pod.spec.as_ref().unwrap().containers.len(),
            pod.spec.as_ref().unwrap().volumes.as_ref().unwrap().len(),
        ];
        assert!(
            longest.iter().all(|length| *length <= MOST_PARTS + 1),
            "{longest:?}"
        );
    }
    let map =
        |entries: usize| -> Value { (0..entries).map(|n| (n.to_string(), json!("v"))).collect() };
    for path in [
        "/metadata/annotations",
        "/spec/containers/0/resources/requests",
    ] {
        assert_eq!(with(path, map(MOST_ENTRIES)).0, None, "{path}");
        assert!(with(path, map(MOST_ENTRIES + 1)).0.is_some(), "{path}");
    }
}

/// Let through unread it would escape every rule: the API server fails open.
#[test]
fn whoever_writes_longer_lists_is_refused() {
    let mut pod = crate::admit::tests::pod();
    pod["spec"]["volumes"] = json!(vec![json!({"name": "v"}); MOST_PARTS + 1]);
    let policy = crate::admit::tests::policy();
    let verdict = crate::admit(&pod, &policy, &crate::Namespace::default()).unwrap();
    assert_eq!(verdict.decision.reason(), "malformed");
}

#[test]
fn it_is_judged_as_the_whole_pod_is() {
    let review: Value =
        serde_json::from_slice(include_bytes!("../../../benches/review.json")).unwrap();
    let pod = &review["request"]["object"];
    let policy = crate::admit::tests::policy();
    let namespace = crate::Namespace::default();
    let whole: Pod = serde_json::from_value(pod.clone()).unwrap();
    let outline = judge(&read(pod).unwrap().0, &policy, &namespace).unwrap();
    assert_eq!(outline, judge(&whole, &policy, &namespace).unwrap());
    assert!(!outline.patch.is_empty());
}
