use mbcas_core::units::MilliCpu;
use serde_json::{Value, json};

use super::super::pod_view;
use super::*;

fn pod(number: usize, edit: impl FnOnce(&mut Value)) -> PodView {
    let resources = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "2"}});
    let mut pod = json!({
        "metadata": {
            "namespace": "shop", "name": format!("web-6d4cf-{number}"), "generateName": "web-6d4cf-", "uid": format!("u{number}"),
            "annotations": {"mbcas.dev/original": r#"{"version":1,"containers":{}}"#},
            "labels": {"pod-template-hash": "6d4cf"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6d4cf", "uid": "r", "controller": true}],
        },
        "spec": {"nodeName": "n1", "priorityClassName": "batch", "containers": [{"name": "app", "resources": resources}, {"name": "proxy", "resources": resources}]},
        "status": {"phase": "Running", "qosClass": "Burstable", "containerStatuses": [
            {"name": "app", "image": "i", "imageID": "i", "ready": true, "restartCount": 0, "state": {"running": {}}, "resources": resources}]},
    });
    edit(&mut pod);
    pod_view(&serde_json::from_value(pod).unwrap()).unwrap()
}

fn limited(number: usize, limit: &str) -> PodView {
    pod(number, |pod| {
        for resources in [
            "/spec/containers/0/resources",
            "/status/containerStatuses/0/resources",
        ] {
            pod.pointer_mut(resources).unwrap()["limits"]["cpu"] = json!(limit);
        }
    })
}

#[test]
fn replicas_keep_what_they_have_in_common_once_whatever_their_limits_are() {
    let pods = Pods::from_iter([limited(1, "1"), limited(2, "2"), limited(3, "3")]);
    let [first, second, third] = ["u1", "u2", "u3"].map(|uid| pods.get(uid).unwrap());
    for other in [second, third] {
        assert!(Arc::ptr_eq(&first.template, &other.template));
        let asks = [first, other].map(|pod| &pod.participation.as_ref().unwrap().asks);
        assert!(Arc::ptr_eq(asks[0], asks[1]));
    }
    let limits = |pod: &PodView| -> Vec<_> {
        let limits = pod.containers().map(|c| c.limit.map(MilliCpu::get));
        limits.collect()
    };
    assert_eq!(limits(third), [Some(3_000), Some(2_000)]);
    assert_eq!(limits(first), [Some(1_000), Some(2_000)]);
    assert_eq!((third.name().as_str(), third.uid()), ("web-6d4cf-3", "u3"));
}

#[test]
fn a_pod_is_known_by_its_uid_alone() {
    let mut pods = Pods::from_iter([limited(2, "1"), limited(1, "1")]);
    pods.insert(limited(2, "2"));
    let limits = |pods: &Pods| -> Vec<_> {
        let limits = pods
            .values()
            .map(|pod| pod.participation.as_ref().unwrap().limit().unwrap().get());
        limits.collect()
    };
    assert_eq!(limits(&pods), [1_000, 2_000]);
    let before = pods.clone();
    pods.remove("u1");
    pods.remove("u7");
    assert_eq!(
        (limits(&pods), limits(&before)),
        (vec![2_000], vec![1_000, 2_000])
    );
}

#[test]
fn what_a_new_list_repeats_is_not_kept_twice() {
    let pods = Pods::from_iter([limited(1, "1"), limited(2, "1")]);
    let mut listed = pods.aside();
    listed.insert(limited(1, "1"));
    listed.insert(limited(2, "2"));
    let same = |uid| std::ptr::eq(pods.get(uid).unwrap(), listed.get(uid).unwrap());
    assert_eq!([same("u1"), same("u2")], [true, false]);
    let template = |pods: &Pods| pods.get("u2").unwrap().template.clone();
    assert!(Arc::ptr_eq(&template(&pods), &template(&listed)));
    assert_eq!(listed.settled().known.len(), 0);
}

#[test]
fn what_nobody_has_any_more_is_let_go() {
    let mut pods = Pods::default();
    for number in 0..5_000 {
        pods.insert(pod(1, |pod| {
            pod["metadata"]["namespace"] = json!(format!("n{number}"));
        }));
    }
    assert!(pods.templates.len() <= 2_048 && pods.names.len() <= 2_048);
}

#[test]
fn a_limit_beyond_all_machines_is_a_very_large_one() {
    let limit = |text| {
        limited(1, text)
            .participation
            .unwrap()
            .limit()
            .unwrap()
            .get()
    };
    assert_eq!(limit("4294967295m"), 4_294_967_295);
    assert_eq!(limit("5000000"), 4_294_967_295);
}
