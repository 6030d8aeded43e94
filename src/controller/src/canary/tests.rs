use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::cluster::pod_view;

fn pod(workload: Option<(&str, &str)>, uid: &str) -> PodView {
    let owner = workload.map(|(kind, name)| json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u", "controller": true}));
    let pod = json!({
        "metadata": {"namespace": "shop", "name": uid, "uid": uid, "ownerReferences": Vec::from_iter(owner)},
        "spec": {"nodeName": "n1", "containers": []},
    });
    pod_view(&serde_json::from_value(pod).unwrap()).unwrap()
}

#[test]
fn places_are_the_same_everywhere() {
    assert_eq!(
        ["web", "api", "db"].map(|name| place(["shop", "Deployment", name])),
        [2, 56, 63]
    );
}

#[test]
fn a_workloads_pods_are_in_or_out_together() {
    for percent in 0..=100 {
        let canary = Canary(percent);
        let web = Some(("Deployment", "web"));
        assert_eq!(
            canary.includes(&pod(web, "a")),
            canary.includes(&pod(web, "b"))
        );
    }
}

#[test]
fn the_part_is_about_as_large_as_asked_for() {
    for percent in [1, 10, 50, 90] {
        let names = (0..10_000).map(|n| n.to_string());
        let pods = names.map(|name| pod(Some(("Deployment", &name)), &name));
        let part = pods.filter(|pod| Canary(percent).includes(pod)).count();
        let wanted = usize::from(percent) * 100;
        assert!(part.abs_diff(wanted) < 200, "{percent} %: {part}");
    }
}

proptest! {
    #[test]
    fn a_larger_number_only_adds(uid in "[0-9a-f-]{36}", name in prop::option::of("[a-z]{1,20}"), percent in 0u8..100) {
        let pod = pod(name.as_deref().map(|name| ("Deployment", name)), &uid);
        prop_assert!(Canary::ALL.includes(&pod) && !Canary(0).includes(&pod));
        prop_assert!(!Canary(percent).includes(&pod) || Canary(percent + 1).includes(&pod));
    }
}
