use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};

use super::{Original, OriginalCpu, OriginalError};

fn containers(value: Value) -> Vec<Container> {
    serde_json::from_value(value).unwrap()
}

fn annotated(annotations: &Value) -> Pod {
    serde_json::from_value(json!({ "metadata": { "name": "a", "annotations": annotations } }))
        .unwrap()
}

#[test]
fn a_record_keeps_the_texts_as_they_were_written_and_what_was_absent() {
    let original = Original::of(
        &containers(json!([
            { "name": "app", "resources": { "requests": { "cpu": "0.1", "memory": "1Gi" }, "limits": { "cpu": "1e-1" } } },
            { "name": "half", "resources": { "limits": { "memory": "1Gi" }, "requests": { "cpu": "1" } } },
            { "name": "bare" },
        ])),
        "app",
    );
    let cpu = |request: Option<&str>, limit: Option<&str>| OriginalCpu {
        request: request.map(str::to_owned),
        limit: limit.map(str::to_owned),
    };
    assert_eq!(original.version, 1);
    assert_eq!(original.containers["app"], cpu(Some("0.1"), Some("1e-1")));
    assert_eq!(original.containers["half"], cpu(Some("1"), None));
    assert_eq!(original.containers["bare"], cpu(None, None));
}

#[test]
fn the_wire_form_is_fixed_since_later_versions_must_read_it() {
    let original = Original::of(
        &containers(json!([
            { "name": "web", "resources": { "requests": { "cpu": "100m" } } },
            { "name": "app", "resources": { "requests": { "cpu": "1" }, "limits": { "cpu": "2" } } },
        ])),
        "app",
    );
    let json = original.to_json().unwrap();
    let expected = r#"{"version":1,"participant":"app","containers":{"app":{"request":"1","limit":"2"},"web":{"request":"100m"}}}"#;
    assert_eq!(json, expected);
    assert_eq!(Original::from_json(&json).unwrap(), original);
}

#[test]
fn a_pod_without_a_record_has_none_and_that_is_no_error() {
    assert!(Original::on(&Pod::default()).unwrap().is_none());
    assert!(
        Original::on(&annotated(&json!({ "mbcas.budget": "1" })))
            .unwrap()
            .is_none()
    );
}

#[test]
fn a_record_is_found_under_its_annotation() {
    let pod = annotated(
        &json!({ "mbcas.dev/original": r#"{"version":1,"containers":{"app":{"limit":"1"}}}"# }),
    );
    let original = Original::on(&pod).unwrap().unwrap();
    assert_eq!(original.containers["app"].limit.as_deref(), Some("1"));
}

#[test]
fn what_this_version_did_not_write_is_refused_with_the_annotations_name() {
    for bad in [
        "",
        "{",
        "null",
        "[]",
        r#"{"containers":{}}"#,
        r#"{"version":"1","containers":{}}"#,
        r#"{"version":-1,"containers":{}}"#,
        r#"{"version":1,"containers":{"app":{"limit":1}}}"#,
        r#"{"version":1,"containers":{"app":{"memory":"1Gi"}}}"#,
        r#"{"version":1,"containers":{},"more":1}"#,
    ] {
        let error = Original::from_json(bad).expect_err(bad);
        assert!(
            matches!(error, OriginalError::Malformed(_)),
            "{bad}: {error}"
        );
        assert!(error.to_string().contains("mbcas.dev/original"), "{error}");
    }
    for version in [0, 2] {
        let error = Original::from_json(&format!(r#"{{"version":{version},"containers":{{}}}}"#))
            .unwrap_err();
        assert!(matches!(error, OriginalError::Version(v) if v == version));
    }
}
