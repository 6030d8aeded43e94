use mbcas_api::names::AGENT_CONTAINER;
use serde_json::json;

use super::*;
use crate::policy::AgentSpec;

pub(crate) fn policy() -> Policy {
    let agent = AgentSpec::usual("example.org/mbcas-demand-agent:1");
    Policy::new(agent, "64").unwrap()
}

/// A pod of a ReplicaSet with one Burstable container.
pub(crate) fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "web-",
            "annotations": {"mbcas.budget": "300"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": true}],
        },
        "spec": {"containers": [{"name": "app", "image": "app:1", "resources": {"requests": {"cpu": "100m"}}}]},
    })
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = pod();
    change(&mut pod);
    pod
}

pub(super) fn judge(pod: &Value) -> Verdict {
    admit(pod, &policy(), &Namespace::default()).unwrap()
}

pub(super) fn applied(pod: &Value) -> Value {
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &judge(pod).patch.operations().unwrap()).unwrap();
    patched
}

pub(super) fn original(pod: &Value) -> Original {
    let json = pod["metadata"]["annotations"][ORIGINAL_ANNOTATION]
        .as_str()
        .expect("a record");
    Original::from_json(json).unwrap()
}

fn faults(pod: &Value) -> Vec<String> {
    match judge(pod) {
        Verdict {
            decision: Decision::Deny(_, faults),
            patch,
            warnings,
            ..
        } => {
            assert!(patch.is_empty() && warnings.is_empty());
            faults
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn malformed_annotations_are_refused_with_all_faults_on_every_pod() {
    let bad = |pod: &mut Value| {
        pod["metadata"]["annotations"] =
            json!({"mbcas.budget": "lots", "mbcas.maxCpu": "1", "mbcas.minCPU": "-1"});
    };
    let all = faults(&with(bad));
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(
        all[0]
            .starts_with(r#"annotation mbcas.budget="lots" is refused: it must be a whole number"#)
    );
    for skipped in [
        |pod: &mut Value| pod["spec"]["hostNetwork"] = json!(true),
        |pod: &mut Value| pod["metadata"]["ownerReferences"] = json!([]),
        |pod: &mut Value| pod["spec"]["containers"][0]["resources"] = json!({}),
        |pod: &mut Value| pod["metadata"]["annotations"]["mbcas.enabled"] = json!("false"),
    ] {
        let pod = with(|pod| {
            bad(pod);
            skipped(pod);
        });
        assert_eq!(faults(&pod).len(), 3, "{pod}");
    }
}

#[test]
fn what_only_shows_beside_the_containers_is_refused_too() {
    let named = with(|pod| pod["metadata"]["annotations"] = json!({"mbcas.container": "web"}));
    let expected = r#"annotation mbcas.container="web" is refused: no container of the pod has that name; its containers are app"#;
    assert_eq!(faults(&named), [expected]);
    let low = with(|pod| pod["metadata"]["annotations"] = json!({"mbcas.maxCPU": "50m"}));
    assert!(faults(&low)[0].contains("below the container's CPU request of 100m"));
    // The request that counts is the chosen container's, and a limit alone stands for it.
    let second = json!({"name": "side", "resources": {"limits": {"cpu": "200m"}}});
    let other = with(|pod| {
        pod["metadata"]["annotations"] = json!({"mbcas.maxCPU": "150m", "mbcas.container": "side"});
        pod["spec"]["containers"]
            .as_array_mut()
            .unwrap()
            .push(second);
    });
    assert!(faults(&other)[0].contains("below the container's CPU request of 200m"));
}

#[test]
fn a_pod_without_containers_is_refused_in_words() {
    assert_eq!(
        faults(&with(|pod| pod["spec"]["containers"] = json!([]))),
        ["the pod has no container"]
    );
}

#[test]
fn what_is_no_pod_is_an_error() {
    for object in [
        json!(null),
        json!([]),
        json!({"spec": 7}),
        json!({"metadata": {}}),
    ] {
        assert!(
            admit(&object, &policy(), &Namespace::default()).is_err(),
            "{object}"
        );
    }
}

#[test]
fn the_limit_that_is_missing_is_the_cap_and_never_below_the_request() {
    let limit =
        |pod: &Value| applied(pod)["spec"]["containers"][0]["resources"]["limits"]["cpu"].clone();
    assert_eq!(limit(&pod()), "64");
    assert_eq!(
        limit(&with(
            |pod| pod["metadata"]["annotations"] = json!({"mbcas.maxCPU": "1500m"})
        )),
        "1500m"
    );
    assert_eq!(
        limit(&with(
            |pod| pod["metadata"]["annotations"] = json!({"mbcas.maxCPU": "1.234"})
        )),
        "1230m"
    );
    assert_eq!(
        limit(&with(
            |pod| pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("100")
        )),
        "100"
    );
    let odd = with(|pod| {
        pod["metadata"]["annotations"] = json!({"mbcas.maxCPU": "105m"});
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("105m");
    });
    assert_eq!(
        limit(&odd),
        "105m",
        "the grid never takes it below the request"
    );
    let own = with(|pod| {
        pod["spec"]["containers"][0]["resources"]["limits"] = json!({"cpu": "2", "memory": "1Gi"});
    });
    assert_eq!(limit(&own), "2");
    assert!(judge(&own).warnings.is_empty());
    let warnings = judge(&pod()).warnings;
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].contains("container app had no CPU limit and now has 64"),
        "{warnings:?}"
    );
}

#[test]
fn a_limit_that_would_make_the_pod_guaranteed_is_not_set() {
    let nearly = with(|pod| {
        pod["metadata"]["annotations"] = json!({"mbcas.agent": "none", "mbcas.maxCPU": "100m"});
        pod["spec"]["containers"][0]["resources"] =
            json!({"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}});
    });
    assert_eq!(
        judge(&nearly).decision,
        Decision::Skip(SkipReason::AgentNone)
    );
    assert!(
        applied(&nearly)["spec"]["containers"][0]["resources"]["limits"]
            .get("cpu")
            .is_none()
    );
    // With a sidecar the pod is Burstable whatever its own container has.
    let injected = with(|pod| {
        pod.clone_from(&nearly);
        pod["metadata"]["annotations"] = json!({"mbcas.maxCPU": "100m"});
    });
    let injected = applied(&injected);
    assert_eq!(
        injected["spec"]["containers"][0]["resources"]["limits"]["cpu"],
        "100m"
    );
    assert_eq!(
        judge(&injected).decision,
        Decision::Skip(SkipReason::AlreadyInjected)
    );
    assert!(judge(&injected).patch.is_empty());
}

#[test]
fn a_second_look_after_another_webhook_keeps_the_true_original() {
    let mut pod = applied(&pod());
    // What the API server and a mesh make of it in between.
    pod["spec"]["initContainers"][0]["terminationMessagePath"] = json!("/dev/termination-log");
    pod["spec"]["initContainers"][0]["env"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "MESH", "value": "1"}));
    pod["spec"]["initContainers"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "mesh", "restartPolicy": "Always"}));
    pod["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "proxy", "resources": {"requests": {"cpu": "50m"}}}));
    let verdict = judge(&pod);
    assert_eq!(
        verdict.decision,
        Decision::Skip(SkipReason::AlreadyInjected)
    );
    assert!(verdict.warnings.is_empty());
    let again = applied(&pod);
    let record = original(&again);
    assert_eq!(
        record.containers["app"].limit, None,
        "the limit that we set is not the owner's"
    );
    assert_eq!(record.containers["proxy"].request.as_deref(), Some("50m"));
    assert_eq!(
        again["metadata"]["annotations"][INJECTION_ANNOTATION],
        "injected"
    );
    assert_eq!(
        again["spec"], pod["spec"],
        "the second look changes no container"
    );
}

#[test]
fn a_forged_record_is_overwritten_by_the_truth() {
    let forged = r#"{"version":1,"containers":{"app":{"request":"100m","limit":"500"},"ghost":{"limit":"9"}}}"#;
    let absent = r#"{"version":1,"containers":{"app":{"request":"1m"}}}"#;
    for forgery in [forged, absent, "{}", "lots"] {
        let pod = with(|pod| {
            pod["metadata"]["annotations"] = json!({
                ORIGINAL_ANNOTATION: forgery, INJECTION_ANNOTATION: "injected", "mbcas.dev/other": "x",
            });
            pod["spec"]["containers"][0]["resources"]["limits"] = json!({"cpu": "2"});
        });
        let patched = applied(&pod);
        let record = original(&patched);
        assert_eq!(record.containers.len(), 1, "{forgery}");
        assert_eq!(
            record.containers["app"].request.as_deref(),
            Some("100m"),
            "{forgery}"
        );
        assert_eq!(
            record.containers["app"].limit.as_deref(),
            Some("2"),
            "{forgery}"
        );
        assert!(
            patched["metadata"]["annotations"]
                .get("mbcas.dev/other")
                .is_none()
        );
        assert_eq!(
            patched["spec"]["initContainers"][0]["name"], AGENT_CONTAINER,
            "a claim to be injected is not believed"
        );
    }
}

#[test]
fn a_guaranteed_pod_stays_guaranteed_whatever_its_record_claims() {
    let exact = json!({"cpu": "64", "memory": "1Gi"});
    let pod = with(|pod| {
        pod["metadata"]["annotations"] =
            json!({ORIGINAL_ANNOTATION: r#"{"version":1,"containers":{"app":{}}}"#});
        pod["spec"]["containers"][0]["resources"] = json!({"requests": exact, "limits": exact});
    });
    assert_eq!(judge(&pod).decision, Decision::Skip(SkipReason::Guaranteed));
    assert_eq!(
        applied(&pod)["metadata"]["annotations"],
        json!({INJECTION_ANNOTATION: "guaranteed"})
    );
}

#[test]
fn an_opted_out_pod_is_untouched_but_for_forged_keys() {
    let plain = with(|pod| pod["metadata"]["annotations"] = json!({"mbcas.enabled": "false"}));
    assert_eq!(judge(&plain).decision, Decision::Skip(SkipReason::OptedOut));
    assert_eq!(applied(&plain), plain);
    let forged = with(|pod| {
        pod["metadata"]["annotations"] =
            json!({"mbcas.enabled": "false", ORIGINAL_ANNOTATION: "{}", "a/b": "kept"});
    });
    assert_eq!(
        applied(&forged)["metadata"]["annotations"],
        json!({"mbcas.enabled": "false", "a/b": "kept"})
    );
}

#[test]
fn a_foreign_container_of_our_name_is_not_taken_for_ours() {
    let spoof = with(|pod| {
        let foreign = Sidecar::of(&AgentSpec::usual("evil.example/agent:1"));
        let container = foreign.container("app", &Settings::default());
        pod["spec"]["initContainers"] = json!([serde_json::from_str::<Value>(&container).unwrap()]);
    });
    assert_eq!(
        judge(&spoof).decision,
        Decision::Skip(SkipReason::NameClash)
    );
}
