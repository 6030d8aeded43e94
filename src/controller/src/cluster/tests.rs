use serde_json::json;

use super::*;

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
        .containers
        .iter()
        .map(|c| (c.name.as_str(), c.request.get(), c.limit.map(MilliCpu::get)))
        .collect();
    assert_eq!(
        names,
        [("app", 1_000, Some(2_000)), ("proxy", 1_000, Some(2_000))]
    );
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
    let follow = cluster.follow(
        events,
        handle,
        |view, listed| view.namespaces = listed.namespaces,
        |view, namespace: &Namespace| {
            view.namespaces.insert(namespace.name_any());
        },
        |view, namespace| {
            view.namespaces.remove(&namespace.name_any());
        },
    );
    let names = |cluster: &Cluster| cluster.view().namespaces.into_iter().collect::<Vec<_>>();
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
