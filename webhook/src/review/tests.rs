use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::*;

fn review(change: impl FnOnce(&mut Value)) -> Result<Review<Outline>, ReviewError> {
    let mut review = json!({
        "apiVersion": API_VERSION, "kind": KIND,
        "request": {
            "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
            "namespace": "shop", "object": {"metadata": {"generateName": "web-"}},
        },
    });
    change(&mut review);
    Review::parse(review.to_string().as_bytes())
}

#[test]
fn a_review_is_read() {
    let read = review(|_| ()).unwrap();
    assert_eq!(
        (
            read.uid.as_str(),
            read.namespace.as_str(),
            read.name.as_str()
        ),
        ("u-1", "shop", "web-")
    );
    assert!(read.is_pod_creation());
    assert!(!read.is_dry_run && read.old_object == Outline::default());
}

#[test]
fn a_deletion_has_an_old_object_only_and_is_named_by_the_request() {
    let read = review(|r| {
        r["request"]["operation"] = json!("DELETE");
        r["request"]["oldObject"] = r["request"]["object"].take();
        r["request"]["dryRun"] = json!(true);
        r["request"]["name"] = json!("web-1");
        r["request"]["userInfo"] = json!({"username": "ada", "groups": ["dev"]});
    });
    let read = read.unwrap();
    assert!(read.object == Outline::default() && read.is_dry_run);
    assert_eq!((read.name.as_str(), read.user.as_str()), ("web-1", "ada"));
    assert_eq!(read.old_object.name(), "web-");
}

#[test]
fn only_the_creation_of_a_pod_is_ours() {
    for (path, value) in [
        ("/request/operation", "UPDATE"),
        ("/request/operation", "create"),
        ("/request/kind/kind", "Deployment"),
        ("/request/kind/group", "metrics.k8s.io"),
    ] {
        let read = review(|r| *r.pointer_mut(path).unwrap() = json!(value)).unwrap();
        assert!(!read.is_pod_creation(), "{path}={value}");
    }
    let read = review(|r| r["request"]["subResource"] = json!("binding")).unwrap();
    assert!(!read.is_pod_creation());
}

#[test]
fn what_is_no_review_is_an_error_and_never_an_empty_uid() {
    let parse = Review::<Outline>::parse;
    assert!(matches!(parse(b""), Err(ReviewError::Shape(_))));
    assert!(matches!(parse(b"{\"uid\": "), Err(ReviewError::Shape(_))));
    let version = |r: &mut Value| r["apiVersion"] = json!("admission.k8s.io/v1beta1");
    assert!(matches!(review(version), Err(ReviewError::Version { .. })));
    let kind = |r: &mut Value| r["kind"] = json!("Pod");
    assert!(matches!(review(kind), Err(ReviewError::Version { .. })));
    assert!(matches!(
        review(|r| r["request"] = json!(null)),
        Err(ReviewError::NoRequest)
    ));
    assert!(matches!(
        review(|r| r["request"]["uid"] = json!("")),
        Err(ReviewError::EmptyUid)
    ));
    assert!(matches!(
        review(|r| r["request"]["uid"] = json!(7)),
        Err(ReviewError::Shape(_))
    ));
    assert!(matches!(
        review(|r| r["request"]["kind"] = json!("Pod")),
        Err(ReviewError::Shape(_))
    ));
}

fn response(answer: &Answer) -> Value {
    let review: Value = serde_json::from_slice(answer.to_json("u\"").as_bytes()).unwrap();
    assert_eq!(
        (&review["apiVersion"], &review["kind"]),
        (&json!(API_VERSION), &json!(KIND))
    );
    review["response"].clone()
}

#[test]
fn a_permission_says_no_more_than_that() {
    assert_eq!(
        response(&Answer::allow("skip", "opted_out")),
        json!({"uid": "u\"", "allowed": true})
    );
}

#[test]
fn a_patch_is_base64() {
    let (pod, policy) = (crate::admit::tests::pod(), crate::admit::tests::policy());
    let verdict = crate::admit(&pod, &policy, &crate::Namespace::default()).unwrap();
    let operations = verdict.patch.operations().unwrap();
    let warnings = json!(verdict.warnings);
    let response = response(&verdict.into());
    assert_eq!(response["patchType"], "JSONPatch");
    assert_eq!(response["warnings"], warnings);
    let ByteString(sent) = serde_json::from_value(response["patch"].clone()).unwrap();
    assert_eq!(
        serde_json::from_slice::<json_patch::Patch>(&sent).unwrap(),
        operations
    );
}

#[test]
fn a_refusal_is_cut_and_a_long_warning_too() {
    let verdict = Verdict {
        decision: Decision::Deny(
            crate::DenyReason::Malformed,
            vec!["é".repeat(700), "b".repeat(700)],
        ),
        patch: Patch::default(),
        warnings: vec!["w".repeat(300), "\"quoted\"\n".to_owned()],
        holding: None,
    };
    let response = response(&verdict.into());
    let message = response["status"]["message"].as_str().unwrap();
    assert_eq!(message.chars().count(), LONGEST_MESSAGE);
    assert!(message.ends_with("b..."));
    let warning = response["warnings"][0].as_str().unwrap();
    assert_eq!(warning.len(), LONGEST_WARNING);
    assert_eq!(response["warnings"][1], "\"quoted\"\n");
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["code"], 422);
    assert!(response.get("patch").is_none() && response.get("patchType").is_none());
}

#[test]
fn a_uid_is_not_repeated_at_any_length() {
    let uid = |length| review(move |r| r["request"]["uid"] = json!("u".repeat(length)));
    assert!(uid(LONGEST_UID).is_ok());
    assert!(matches!(uid(LONGEST_UID + 1), Err(ReviewError::LongUid)));
}

#[test]
fn what_is_no_text_is_no_review() {
    let mut body =
        br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","other":"?"}"#.to_vec();
    let at = body.iter().position(|byte| *byte == b'?').unwrap();
    body[at] = 0xff;
    let refused = Review::<Outline>::parse(&body).unwrap_err();
    assert!(
        refused.to_string().starts_with("the body is not UTF-8: "),
        "{refused}"
    );
}
