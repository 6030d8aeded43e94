use serde_json::{Value, json};

use super::*;
use crate::cluster::{View, pod_view};
use crate::fake::{Clients, FakeApi, Shared, paused_clock};
use crate::kubelet::KubeletTls;
use crate::lease::Candidate;
use kube::api::Api;

fn pod(namespace: &str, name: &str, annotations: &Value) -> Value {
    let mut all =
        json!({"mbcas.dev/original": r#"{"version":1,"containers":{"app":{"request":"100m"}}}"#});
    all.as_object_mut()
        .unwrap()
        .extend(annotations.as_object().unwrap().clone());
    let resources = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "64"}});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "uid": name, "resourceVersion": "1", "annotations": all},
        "spec": {"nodeName": "n1", "containers": [
            {"name": "app", "resources": resources},
            {"name": "log", "resources": {"requests": {"cpu": "50m"}}},
        ]},
        "status": {"phase": "Running", "qosClass": "Burstable", "podIP": "127.0.0.1", "containerStatuses": [
            {"name": "app", "image": "i", "imageID": "i", "ready": true, "restartCount": 0,
             "state": {"running": {}}, "resources": resources},
        ]},
    })
}

/// A node with two cores and these pods; `shop` is labelled.
fn world(pods: &[Value]) -> (Shared, View) {
    let api = FakeApi::shared();
    api.lock().unwrap().pods = pods.to_vec();
    let node = crate::cluster::NodeView {
        name: "n1".into(),
        allocatable: mbcas_core::MilliCpu::new(2_000),
        kubelet: None,
    };
    let views = pods
        .iter()
        .filter_map(|p| pod_view(&serde_json::from_value(p.clone()).unwrap()));
    let view = View {
        pods: views.map(|p| (p.id.uid.clone(), p)).collect(),
        nodes: BTreeMap::from([("n1".into(), node)]),
        namespaces: ["shop".to_owned()].into(),
    };
    (api, view)
}

/// The rule by which the first cycle already writes.
fn proportional() -> Policy {
    let settings = mbcas_market::policy::Settings {
        rule: mbcas_market::Rule::Proportional,
        ..mbcas_market::policy::Settings::default()
    };
    Policy::new(settings).unwrap()
}

async fn market(api: &Shared, view: View, leads: bool) -> (Loop, Candidate) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = api.client();
    let (mut candidate, leader) = Candidate::new(
        Api::namespaced(client.clone(), "m"),
        Api::namespaced(client.clone(), "m"),
        "a",
        paused_clock,
    );
    if leads {
        candidate.lead().await;
    }
    let config = kube::Config::new("https://127.0.0.1:1".parse().unwrap());
    let market = Loop {
        cluster: Cluster::with(view),
        demands: Demands::default(),
        kubelets: Kubelets::new(config, KubeletTls::Verify),
        actuator: Actuator::new(client, leader),
        policy: proportional(),
        terms: Terms {
            mode: Mode::Auto,
            reserve: mbcas_core::MilliCpu::ZERO,
            curve: None,
            startup_grace: Duration::from_secs(30),
        },
        interval: Duration::from_secs(15),
        metrics: Arc::new(Metrics::register(&prometheus::Registry::new(), true).unwrap()),
        ledgers: BTreeMap::new(),
        epoch: None,
        respected: BTreeMap::new(),
        known: BTreeSet::new(),
        started: Instant::now(),
    };
    (market, candidate)
}

fn limits(api: &Shared) -> BTreeMap<String, String> {
    let writes = &api.lock().unwrap().writes;
    let limit = |body: &Value| {
        body.pointer("/spec/containers/0/resources/limits/cpu")
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    };
    writes
        .iter()
        .map(|(path, body)| (path.clone(), limit(body)))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_cycle_writes_limits_by_budget_and_nothing_else() {
    let pods = [
        pod("shop", "top", &json!({"mbcas.budget": "600"})),
        pod("shop", "low", &json!({"mbcas.budget": "200"})),
        pod("shop", "out", &json!({"mbcas.enabled": "false"})),
        pod("elsewhere", "other", &json!({"mbcas.enabled": "true"})),
    ];
    let (api, view) = world(&pods);
    let (mut market, _candidate) = market(&api, view, true).await;
    market.cycle(Mode::Auto, 0).await;
    let limits = limits(&api);
    let paths: Vec<_> = limits.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "/api/v1/namespaces/shop/pods/low/resize",
            "/api/v1/namespaces/shop/pods/top/resize"
        ]
    );
    let milli = |name: &str| limits[name].trim_end_matches('m').parse::<f64>().unwrap() - 100.0;
    let ratio = milli("/api/v1/namespaces/shop/pods/top/resize")
        / milli("/api/v1/namespaces/shop/pods/low/resize");
    assert!((2.8..3.2).contains(&ratio), "{limits:?}");
    // The write carries the incarnation and the version that were looked at, and no request.
    let (_, body) = api.lock().unwrap().writes[0].clone();
    assert_eq!(
        body.pointer("/metadata/uid"),
        body.pointer("/metadata/name")
    ); // as the fixture names it
    assert_eq!(body.pointer("/metadata/resourceVersion"), Some(&json!("1")));
    assert_eq!(body.pointer("/spec/containers/0/resources/requests"), None);
}

#[tokio::test(start_paused = true)]
async fn recommending_writes_nothing() {
    let (api, view) = world(&[pod("shop", "top", &json!({}))]);
    let (mut market, _candidate) = market(&api, view, true).await;
    market.cycle(Mode::Recommend, 0).await;
    assert!(limits(&api).is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_the_lease_nothing_is_written() {
    let (api, view) = world(&[pod("shop", "top", &json!({}))]);
    let (mut market, _candidate) = market(&api, view, false).await;
    market.cycle(Mode::Auto, 0).await;
    assert!(limits(&api).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_may_only_be_watched_is_not_written() {
    let (api, view) = world(&[pod("shop", "top", &json!({"mbcas.mode": "observe"}))]);
    let (mut market, _candidate) = market(&api, view, true).await;
    market.cycle(Mode::Auto, 0).await;
    assert!(limits(&api).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_container_of_another_resizer_is_left_to_it() {
    let (api, view) = world(&[pod("shop", "top", &json!({}))]);
    let (mut market, _candidate) = market(&api, view, true).await;
    let id = crate::discover::discover(&market.cluster.view())
        .participants
        .into_keys()
        .next()
        .unwrap();
    market.respected.insert(id, Instant::now() + RESPECT);
    market.cycle(Mode::Auto, 0).await;
    assert!(limits(&api).is_empty());
    tokio::time::advance(RESPECT * 2).await;
    market.cycle(Mode::Recommend, 0).await;
    assert!(market.respected.is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_before_usage_is_known_unless_the_kubelet_stays_silent() {
    let (api, mut view) = world(&[pod("shop", "top", &json!({}))]);
    let node = view.nodes.get_mut("n1").unwrap();
    node.kubelet = Some(("127.0.0.1".to_owned(), 1)); // nobody listens there
    let (mut market, mut candidate) = market(&api, view, true).await;
    market.cycle(Mode::Auto, 0).await;
    assert!(limits(&api).is_empty());
    tokio::time::advance(Duration::from_secs(30)).await;
    candidate.lead().await;
    market.cycle(Mode::Auto, 0).await;
    assert_eq!(limits(&api).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_remembered_in_another_term_is_forgotten() {
    let (api, view) = world(&[pod("shop", "top", &json!({}))]);
    let (mut market, _candidate) = market(&api, view, true).await;
    market.cycle(Mode::Auto, 0).await;
    assert_eq!(market.ledgers.len(), 1);
    market
        .ledgers
        .insert("of an earlier term".into(), Ledger::default());
    market.cycle(Mode::Auto, 0).await;
    market
        .ledgers
        .insert("of an earlier term".into(), Ledger::default());
    market.cycle(Mode::Auto, 1).await;
    assert!(!market.ledgers.contains_key("of an earlier term"));
    assert_eq!(
        limits(&api).len(),
        1,
        "nothing is written in a term that is not ours"
    );
}
