//! Whoever else sets a container's CPU comes first, and that is said.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_container_of_another_resizer_is_left_to_it() {
    let (api, view) = world(&[pod("shop", "top", &json!({}))]);
    let (mut market, _candidate) = market(&api, view, true).await;
    api.lock().unwrap().is_contested = true;
    market.cycle(Mode::Auto, 0).await;
    assert_eq!(limits(&api).len(), 1);
    assert_eq!(market.respected.len(), 1);
    let said = events(&api);
    let is_said = |(reason, note): &(String, String)| {
        reason == "AnotherResizer" && note.contains("container app is another resizer's")
    };
    assert_eq!(
        said.iter().filter(|event| is_said(event)).count(),
        1,
        "{said:?}"
    );
    // Nothing is forced, and nothing asked again as long as that is respected.
    api.lock().unwrap().writes.clear();
    market.cycle(Mode::Auto, 0).await;
    assert!(limits(&api).is_empty());
    tokio::time::advance(RESPECT * 2).await;
    market.cycle(Mode::Recommend, 0).await;
    assert!(market.respected.is_empty());
}

/// Of a whole cluster of them a cycle tells twenty; all are left alone.
#[tokio::test(start_paused = true)]
async fn of_many_that_another_resizes_some_are_told() {
    let pods: Vec<_> = (0..25)
        .map(|number| pod("shop", &format!("p{number}"), &json!({})))
        .collect();
    let (api, view) = world(&pods);
    let (mut market, _candidate) = market(&api, view, true).await;
    api.lock().unwrap().is_contested = true;
    market.cycle(Mode::Auto, 0).await;
    assert_eq!((market.respected.len(), events(&api).len()), (25, 20));
}

#[tokio::test(start_paused = true)]
async fn a_vertical_autoscaler_is_left_alone_and_told_once() {
    let mut owned = pod("shop", "top", &json!({}));
    owned["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u", "controller": true}]);
    let (api, mut view) = world(&[owned]);
    let vertical = json!({"apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscaler",
                          "metadata": {"name": "db", "namespace": "shop", "uid": "vpa"},
                          "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db"}}});
    let vertical: crate::autoscalers::VerticalPodAutoscaler =
        serde_json::from_value(vertical).unwrap();
    crate::cluster::Watched::keep(vertical, &mut view);
    let (mut market, mut candidate) = market(&api, view, true).await;
    for _ in 0..2 {
        candidate.lead().await;
        market.cycle(Mode::Auto, 0).await;
    }
    assert!(limits(&api).is_empty());
    assert_eq!(
        market.metrics.restrained.with_label_values(&["vpa"]).get(),
        1
    );
    let reasons: Vec<_> = events(&api).into_iter().map(|(reason, _)| reason).collect();
    assert_eq!(reasons, ["VerticalAutoscaler"]);
}
