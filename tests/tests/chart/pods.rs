//! Our own pods.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::renders::everything;
use crate::support::{find, list, name, rendered};

/// The pod in an object, if it holds one.
fn pod(object: &Value) -> Option<&Value> {
    match object["kind"].as_str()? {
        "Pod" => Some(object),
        "Deployment" | "Job" => Some(&object["spec"]["template"]),
        "CronJob" => Some(&object["spec"]["jobTemplate"]["spec"]["template"]),
        _ => None,
    }
}

#[test]
fn every_pod_of_ours_passes_pod_security_restricted() {
    for (render, object) in everything() {
        let Some(pod) = pod(object) else { continue };
        let what = format!("{}: {}", render.set, name(object));
        let spec = &pod["spec"];
        for absent in [
            "hostPID",
            "hostIPC",
            "initContainers",
            "ephemeralContainers",
        ] {
            assert_eq!(spec.get(absent), None, "{what}: {absent}");
        }
        for volume in list(&spec["volumes"]) {
            let is_ours = ["secret", "configMap"].map(|kind| volume.get(kind).is_some());
            assert!(is_ours.contains(&true), "{what}: {volume}");
        }
        for container in list(&spec["containers"]) {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false, "{what}");
            assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}), "{what}");
            assert_eq!(security["runAsNonRoot"], true, "{what}");
            assert_eq!(security["readOnlyRootFilesystem"], true, "{what}");
            assert_eq!(
                security["seccompProfile"],
                json!({"type": "RuntimeDefault"}),
                "{what}"
            );
            assert_eq!(security.get("privileged"), None, "{what}");
            let openshift = render.text.contains("runAsUser");
            assert_eq!(security.get("runAsUser").is_some(), openshift, "{what}");
            assert!(
                container["resources"]["requests"].is_object()
                    || container["resources"]["limits"].is_object(),
                "{what}"
            );
            assert!(
                container["resources"]["limits"]["memory"].is_string(),
                "{what}"
            );
        }
    }
}

#[test]
fn openshift_chooses_the_user_and_everybody_else_gets_ours() {
    let users = |words: &[&str]| {
        rendered(words)
            .iter()
            .filter(|object| {
                pod(object).is_some_and(|pod| pod.to_string().contains("\"runAsUser\":65532"))
            })
            .count()
    };
    assert_eq!(users(&["--set", "openshift=true"]), 0);
    assert_eq!(
        users(&[]),
        5,
        "webhook, controller, restore, dead-man, test"
    );
}

#[test]
fn every_pod_of_ours_stays_out_of_meshes_and_has_an_account_of_its_own() {
    for (render, object) in everything() {
        let Some(pod) = pod(object) else { continue };
        let what = format!("{}: {}", render.set, name(object));
        assert_eq!(
            pod["metadata"]["labels"]["sidecar.istio.io/inject"], "false",
            "{what}"
        );
        assert_eq!(
            pod["metadata"]["annotations"]["linkerd.io/inject"], "disabled",
            "{what}"
        );
        let account = find(
            &render.objects,
            "ServiceAccount",
            pod["spec"]["serviceAccountName"].as_str().unwrap(),
        );
        assert_eq!(account["automountServiceAccountToken"], false, "{what}");
        assert_eq!(pod["spec"]["automountServiceAccountToken"], true, "{what}");
        assert_eq!(
            account["metadata"]["name"], object["metadata"]["name"],
            "{what}"
        );
    }
}

#[test]
fn a_replica_outlives_its_service_and_comes_before_the_old_one_goes() {
    let objects = rendered(&[]);
    let spec = &find(&objects, "Deployment", "mbcas-webhook")["spec"];
    let grace = Duration::from_secs(
        spec["template"]["spec"]["terminationGracePeriodSeconds"]
            .as_u64()
            .unwrap(),
    );
    assert!(
        grace > mbcas_webhook::serve::LINGER + mbcas_webhook::serve::DRAIN * 2,
        "{grace:?}"
    );
    assert_eq!(
        spec["strategy"]["rollingUpdate"],
        json!({"maxUnavailable": 0, "maxSurge": 1})
    );
    // Who waits for the rollout may create pods right after it: API servers need a moment to hear of a ready replica.
    assert_eq!(spec["minReadySeconds"], 3);
    let objects = rendered(&["--set", "webhook.hostNetwork=true"]);
    let spec = &find(&objects, "Deployment", "mbcas-webhook")["spec"];
    assert_eq!(
        spec["strategy"]["rollingUpdate"],
        json!({"maxUnavailable": 1, "maxSurge": 0}),
        "two cannot have one port"
    );
}

#[test]
fn images_come_from_where_the_user_says() {
    let images = |words: &[&str]| -> BTreeSet<String> {
        let objects = rendered(words);
        let pods = objects.iter().filter_map(pod);
        pods.flat_map(|pod| list(&pod["spec"]["containers"]))
            .map(|c| c["image"].as_str().unwrap().to_owned())
            .collect()
    };
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        images(&[]),
        BTreeSet::from([format!("mbcas.local/mbcas:{version}")])
    );
    assert_eq!(
        images(&["--set", "image.tag=a"]),
        BTreeSet::from(["mbcas.local/mbcas:a".to_owned()])
    );
    let digest = format!("sha256:{}", "0".repeat(64));
    let pinned = images(&[
        "--set",
        &format!("image.tag=a,image.digest={digest},global.imageRegistry=r.example"),
    ]);
    assert_eq!(
        pinned,
        BTreeSet::from([format!("r.example/mbcas@{digest}")])
    );
}
