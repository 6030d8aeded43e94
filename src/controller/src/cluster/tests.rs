use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use mbcas_api::NotParticipant;
use mbcas_core::units::MilliCpu;
use serde_json::{Value, json};

use super::node::node_view;
use super::*;
use crate::autoscalers::VerticalPodAutoscaler;

fn view_of(pod: serde_json::Value) -> Option<PodView> {
    pod_view(&serde_json::from_value(pod).unwrap())
}

#[test]
fn a_pod_that_occupies_no_node_has_no_view() {
    let metadata = json!({"namespace": "n", "name": "p", "uid": "u"});
    assert!(view_of(json!({"metadata": metadata, "spec": {"containers": []}})).is_none());
    let ended = json!({"metadata": metadata, "spec": {"nodeName": "n1", "containers": []}, "status": {"phase": "Succeeded"}});
    assert!(view_of(ended).is_none());
}

#[test]
fn sidecars_count_and_plain_init_containers_do_not() {
    let resources = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}});
    let pod = json!({
        "metadata": {"namespace": "n", "name": "p", "uid": "u"},
        "spec": {
            "nodeName": "n1",
            "containers": [{"name": "app", "resources": resources}],
            "initContainers": [
                {"name": "setup", "resources": resources},
                {"name": "proxy", "restartPolicy": "Always", "resources": resources},
            ],
        },
        "status": {"phase": "Pending"},
    });
    let view = view_of(pod).unwrap();
    let names: Vec<_> = view
        .containers()
        .map(|c| (c.name, c.request.get(), c.limit.map(MilliCpu::get)))
        .collect();
    let expected = ["app", "proxy"].map(|name| (name.into(), 1_000, Some(2_000)));
    assert_eq!(names, expected);
    assert_eq!(view.participation, Err(NotParticipant::NotRunning));
}

#[test]
fn a_node_shows_where_its_kubelet_listens() {
    let node = json!({
        "metadata": {"name": "n1"},
        "status": {
            "allocatable": {"cpu": "1500m"},
            "addresses": [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "100.64.0.2"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        },
    });
    let view = node_view(&serde_json::from_value(node).unwrap());
    assert_eq!(
        (view.allocatable.get(), view.kubelet),
        (1_500, Some(("100.64.0.2".into(), 10250)))
    );
}

#[tokio::test]
async fn a_relist_is_swapped_in_whole() {
    let namespace = |name: &str| Namespace {
        metadata: kube::api::ObjectMeta {
            name: Some(name.into()),
            ..Default::default()
        },
        ..Default::default()
    };
    let cluster = Cluster::default();
    let readiness = ready::Readiness::new();
    let handle = readiness.handle("namespaces");
    let (sender, events) = futures::channel::mpsc::unbounded();
    let follow = cluster.follow::<Namespace>(events, handle);
    let names = |cluster: &Cluster| cluster.view().namespaces.into_keys().collect::<Vec<_>>();
    let script = async {
        let say = |event| sender.unbounded_send(Ok(event)).unwrap();
        say(Event::Init);
        say(Event::InitApply(namespace("a")));
        tokio::task::yield_now().await;
        assert!(names(&cluster).is_empty() && !readiness.pending().is_empty());
        say(Event::InitDone);
        say(Event::Apply(namespace("b")));
        tokio::task::yield_now().await;
        assert_eq!(names(&cluster), ["a", "b"]);
        assert!(readiness.pending().is_empty());
        say(Event::Init);
        say(Event::InitApply(namespace("c")));
        tokio::task::yield_now().await;
        assert_eq!(names(&cluster), ["a", "b"]);
        say(Event::InitDone);
        say(Event::Delete(namespace("c")));
        tokio::task::yield_now().await;
        assert!(names(&cluster).is_empty());
        sender.close_channel();
    };
    let (ended, ()) = tokio::join!(follow, script);
    ended.unwrap();
}

#[test]
fn a_pod_knows_what_made_it() {
    let made_by = |labels: &Value, kind: &str, name: &str| {
        let owner =
            json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": "u", "controller": true});
        let metadata = json!({"namespace": "n", "name": "p", "uid": "u", "labels": labels, "ownerReferences": [owner]});
        let pod =
            view_of(json!({"metadata": metadata, "spec": {"nodeName": "n1", "containers": []}}));
        let workload = pod.unwrap().template.workload.clone().unwrap();
        (workload.kind, workload.name)
    };
    let is = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
    let hash = json!({"pod-template-hash": "6d4cf"});
    assert_eq!(
        made_by(&hash, "ReplicaSet", "web-6d4cf"),
        is("Deployment", "web")
    );
    assert_eq!(made_by(&hash, "ReplicaSet", "own"), is("ReplicaSet", "own"));
    assert_eq!(
        made_by(&json!({}), "ReplicaSet", "web-6d4cf"),
        is("ReplicaSet", "web-6d4cf")
    );
    let rollout = json!({"rollouts-pod-template-hash": "6d4cf"});
    assert_eq!(
        made_by(&rollout, "ReplicaSet", "web-6d4cf"),
        is("Rollout", "web")
    );
    assert_eq!(
        made_by(&json!({}), "StatefulSet", "db"),
        is("StatefulSet", "db")
    );
    let bare = json!({"metadata": {"namespace": "n", "name": "p", "uid": "u"}, "spec": {"nodeName": "n1", "containers": []}});
    assert!(view_of(bare).unwrap().template.workload.is_none());
}

#[test]
fn a_startup_boost_counts_while_it_is_active() {
    let is_boosted = |annotations: Value| {
        let metadata =
            json!({"namespace": "n", "name": "p", "uid": "u", "annotations": annotations});
        let pod =
            view_of(json!({"metadata": metadata, "spec": {"nodeName": "n1", "containers": []}}));
        pod.unwrap().is_boosted
    };
    let with = |text: &str| json!({"autoscaling.x-k8s.io/startup-cpu-boost": text});
    assert!(is_boosted(with(r#"{"state":"Active","initCPULimits":{}}"#)));
    assert!(is_boosted(with(r#"{"timestamp":"2026-01-01T00:00:00Z"}"#)));
    assert!(is_boosted(with("what is this")));
    assert!(!is_boosted(with(r#"{"state":"Reverted"}"#)));
    assert!(!is_boosted(with(r#"{"state":"Infeasible"}"#)));
    assert!(!is_boosted(json!({})));
}

#[test]
fn administrators_take_nodes_out_and_freeze_namespaces() {
    let node = |labels: Value| {
        node_view(
            &serde_json::from_value(json!({"metadata": {"name": "n1", "labels": labels}})).unwrap(),
        )
    };
    assert!(node(json!({"mbcas.dev/market": "disabled"})).is_opted_out);
    assert!(!node(json!({"mbcas.dev/market": "enabled"})).is_opted_out);
    assert!(!node(json!({})).is_opted_out);
    let is_frozen = |annotations: Value| {
        let namespace = json!({"metadata": {"name": "shop", "annotations": annotations}});
        let mut view = View::default();
        serde_json::from_value::<Namespace>(namespace)
            .unwrap()
            .keep(&mut view);
        view.namespaces["shop"].is_frozen
    };
    assert!(is_frozen(json!({"mbcas.dev/frozen": "true"})));
    assert!(is_frozen(json!({"mbcas.dev/frozen": "yes"})));
    assert!(!is_frozen(json!({"mbcas.dev/frozen": "false"})));
    assert!(!is_frozen(json!({})));
}

fn refused(code: u16) -> Error {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "r", "message": "m"});
    let status = serde_json::from_value(status).unwrap();
    Error::InitialListFailed(kube::Error::Api(Box::new(status)))
}

#[tokio::test]
async fn what_may_not_be_seen_or_is_not_there_is_done_without() {
    let quota = json!({"metadata": {"namespace": "shop", "name": "q"}, "spec": {"hard": {"limits.cpu": "4"}}});
    let quota: ResourceQuota = serde_json::from_value(quota).unwrap();
    let after = async |events: Vec<Result<Event<ResourceQuota>, Error>>| {
        let (cluster, readiness) = (Cluster::default(), ready::Readiness::new());
        let handle = readiness.handle("resourcequotas");
        let stream = futures::stream::iter(events);
        cluster.follow(stream, handle).await.unwrap();
        let view = cluster.view();
        let unseen: Vec<_> = view.unseen.into_iter().collect();
        (unseen, view.quotas.len(), readiness.pending().is_empty())
    };
    let listed = || {
        [
            Ok(Event::Init),
            Ok(Event::InitApply(quota.clone())),
            Ok(Event::InitDone),
        ]
    };
    let unseen = || vec!["resourcequotas".to_owned()];
    assert_eq!(after(vec![Err(refused(403))]).await, (unseen(), 0, true));
    // An API server that is down says nothing about what it would show.
    assert_eq!(after(vec![Err(refused(500))]).await, (vec![], 0, false));
    let then = |code| {
        listed()
            .into_iter()
            .chain([Err(refused(code))])
            .collect::<Vec<_>>()
    };
    assert_eq!(after(then(403)).await, (unseen(), 1, true));
    assert_eq!(after(then(404)).await, (unseen(), 0, true));
    let back = [Err(refused(404))].into_iter().chain(listed()).collect();
    assert_eq!(after(back).await, (vec![], 1, true));
}

/// An API server without the kind says so in plain text.
#[tokio::test]
async fn a_cluster_without_vertical_autoscalers_is_a_cluster() {
    let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        let text = b"404 page not found\n".to_vec();
        let answer = http::Response::builder().status(404);
        answer.body(kube::client::Body::from(text))
    });
    let (cluster, readiness) = (Cluster::default(), ready::Readiness::new());
    let handle = readiness.handle("verticalpodautoscalers");
    let client = Client::new(service, "default");
    let watch = cluster
        .clone()
        .watch::<DeserializeGuard<VerticalPodAutoscaler>>(client, Config::default(), handle);
    let is_ready = async {
        while !readiness.pending().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = watch => unreachable!("a watch has no end"),
        () = is_ready => {}
    }
    let unseen: Vec<_> = cluster.view().unseen.into_iter().collect();
    assert_eq!(unseen, ["verticalpodautoscalers"]);
}
