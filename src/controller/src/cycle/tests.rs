use serde_json::{Value, json};

use super::*;
use crate::actuate::Pace;
use crate::cluster::{NamespaceView, View, pod_view};
use crate::demand::Demands;
use crate::fake::{Clients, FakeApi, Shared, paused_clock};
use crate::kubelet::{self, KubeletTls};
use crate::kubelets::Kubelets;
use crate::lease::Candidate;
use kube::api::Api;

mod leaving;
mod record;
mod rivals;
mod under_way;

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
        cores: mbcas_core::MilliCpu::new(2_000),
        kubelet: None,
        is_opted_out: false,
    };
    let views = pods
        .iter()
        .filter_map(|p| pod_view(&serde_json::from_value(p.clone()).unwrap()));
    let view = View {
        pods: views.collect(),
        nodes: BTreeMap::from([("n1".into(), node)]),
        namespaces: BTreeMap::from([("shop".into(), NamespaceView::default())]),
        ..View::default()
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
        senses: Arc::new(Mutex::new(Senses {
            demands: Demands::default(),
            kubelets: Kubelets::new(kubelet::client(&KubeletTls::Insecure, &config).unwrap()),
        })),
        jumps: Jumps::new().0,
        scribe: Arc::new(Mutex::new(Scribe::new(
            client.clone(),
            leader.clone(),
            true,
        ))),
        switch: Switch::new(Api::namespaced(client.clone(), "m")),
        mode: Mode::Auto,
        canary: Canary::ALL,
        unenforced: Unenforced::default(),
        actuator: Arc::new(Actuator::new(client, leader)),
        policy: proportional(),
        terms: Terms {
            default_max: mbcas_core::MilliCpu::new(64_000),
            reserve: mbcas_core::MilliCpu::ZERO,
            curve: None,
            startup_grace: Duration::from_secs(30),
        },
        interval: Duration::from_secs(15),
        metrics: Arc::new(Metrics::register(&prometheus::Registry::new(), true).unwrap()),
        record: Record::default(),
        ledgers: BTreeMap::new(),
        epoch: None,
        respected: BTreeMap::new(),
        contested: Vec::new(),
        leaving: Leaving::default(),
        ids: Ids::default(),
        started: Instant::now(),
        under_way: UnderWay::default(),
    };
    (market, candidate)
}

impl Loop {
    /// A cycle from its beginning to its end.
    async fn cycle(&mut self, mode: Mode, epoch: i32) {
        let term = Term { epoch, mode };
        self.begin(term);
        self.settle(term).await;
    }

    /// An early turn, and what it writes.
    async fn at_once(&mut self, jump: &Jump, mode: Mode, epoch: i32) {
        let term = Term { epoch, mode };
        self.early(vec![jump.clone()], term).await;
        self.settle(term).await;
    }

    /// Goes on until nothing is under way.
    async fn settle(&mut self, term: Term) {
        while let Some(step) = self.under_way.steps.join_next().await {
            self.go_on(step.unwrap(), Some(term)).await;
        }
    }
}

fn limits(api: &Shared) -> BTreeMap<String, String> {
    let writes = &api.lock().unwrap().writes;
    let limit = |body: &Value| {
        let limit = &body["spec"]["containers"][0]["resources"]["limits"]["cpu"];
        limit.as_str().unwrap().to_owned()
    };
    writes
        .iter()
        .map(|(path, body)| (path.clone(), limit(body)))
        .collect()
}

/// The Events that were written: reason and note.
fn events(api: &Shared) -> Vec<(String, String)> {
    let notes = &api.lock().unwrap().notes;
    let events = notes.iter().filter(|(path, _)| path.contains("/events"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    events
        .map(|(_, event)| (text(&event["reason"]), text(&event["note"])))
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

/// Pods `near` and `beside` on one node, and `far` on another; and who `near` is.
fn two_nodes() -> (Shared, View, ContainerId) {
    let mut pods = ["near", "beside", "far"].map(|name| pod("shop", name, &json!({})));
    pods[2]["spec"]["nodeName"] = json!("n2");
    let (api, mut view) = world(&pods);
    let other = crate::cluster::NodeView {
        name: "n2".into(),
        ..view.nodes["n1"].clone()
    };
    view.nodes.insert("n2".into(), other);
    let near = named(&view, "near");
    (api, view, near)
}

/// The participant that is the pod `name`.
fn named(view: &View, name: &str) -> ContainerId {
    let all = discover(view, &mut Ids::default()).participants;
    let mut all = all.into_keys();
    all.find(|id| id.pod.name == name).unwrap()
}

/// A jump of `id` to all that there is.
fn jump(id: &ContainerId) -> Jump {
    Jump {
        id: id.clone(),
        word: crate::report::Word::of(mbcas_core::units::Demand::FULL),
        at: Instant::now(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_jump_moves_its_own_node_at_once_and_no_other() {
    let (api, view, near) = two_nodes();
    let (mut market, _candidate) = market(&api, view, true).await;
    let jump = jump(&near);
    market.at_once(&jump, Mode::Auto, 0).await;
    assert!(limits(&api).is_empty(), "nothing is known yet");

    market.cycle(Mode::Observe, 0).await;
    market.at_once(&jump, Mode::Auto, 1).await;
    assert!(limits(&api).is_empty(), "another term");

    market.cycle(Mode::Observe, 0).await;
    market.at_once(&jump, Mode::Auto, 0).await;
    let written = limits(&api);
    let written: Vec<_> = written.keys().collect();
    let path = |name| format!("/api/v1/namespaces/shop/pods/{name}/resize");
    assert_eq!(written, [&path("beside"), &path("near")]);
    assert_eq!(
        market.ledgers["n1"].demand(&near).unwrap().basis_points(),
        5_000,
        "the average has had no time"
    );
    assert_eq!(market.ledgers.len(), 2, "the other node is not forgotten");
    assert_eq!(market.metrics.jump_seconds.get_sample_count(), 1);
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

/// A BudgetPolicy of `shop`, as the cluster has it.
fn with_policy(view: &mut View, spec: &Value) {
    let policy = json!({"apiVersion": "mbcas.dev/v1alpha1", "kind": "BudgetPolicy",
                        "metadata": {"name": "default", "namespace": "shop", "generation": 2}, "spec": spec});
    let policy: mbcas_api::BudgetPolicy = serde_json::from_value(policy).unwrap();
    crate::cluster::Watched::keep(policy, view);
}

#[tokio::test(start_paused = true)]
async fn a_namespaces_total_binds_its_pods_and_its_status_says_so() {
    let pods = [
        pod("shop", "a", &json!({"mbcas.budget": "600"})),
        pod("shop", "b", &json!({"mbcas.budget": "600"})),
        pod("rich", "c", &json!({"mbcas.budget": "300"})),
    ];
    let (api, mut view) = world(&pods);
    view.namespaces
        .insert("rich".into(), NamespaceView::default());
    with_policy(&mut view, &json!({"budget": {"total": 300}}));
    let (mut market, mut candidate) = market(&api, view, true).await;
    market.cycle(Mode::Auto, 0).await;
    let limits = limits(&api);
    let of = |name: &str| limits[name].trim_end_matches('m').parse::<u64>().unwrap();
    let (a, b) = (
        of("/api/v1/namespaces/shop/pods/a/resize"),
        of("/api/v1/namespaces/shop/pods/b/resize"),
    );
    let c = of("/api/v1/namespaces/rich/pods/c/resize");
    // 300 for both of shop, against 300 for the one of rich.
    assert!(
        a.abs_diff(b) <= 10 && (a + b - 200).abs_diff(c - 100) <= 30,
        "{limits:?}"
    );

    let notes = api.lock().unwrap().notes.clone();
    let [(path, body)] = notes.as_slice() else {
        panic!("{notes:?}")
    };
    assert_eq!(
        path,
        "/apis/mbcas.dev/v1alpha1/namespaces/shop/budgetpolicies/default/status"
    );
    let status = &body["status"];
    assert_eq!(
        (&status["pods"], &status["budgetUsed"]),
        (&json!(2), &json!(1200))
    );
    assert_eq!(status["observedGeneration"], 2);
    assert_eq!(status["conditions"][0]["reason"], "BudgetsExceeded");
    assert_eq!(status["conditions"][0]["status"], "True");
    // The watch has not shown it yet; that is no reason to write it again.
    candidate.lead().await;
    market.cycle(Mode::Auto, 0).await;
    assert_eq!(api.lock().unwrap().notes.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_switch_stops_writes_within_a_cycle_and_lets_them_go_on() {
    let (api, view) = world(&[pod("shop", "top", &json!({}))]);
    let (mut market, mut candidate) = market(&api, view, true).await;
    for (data, written) in [
        (Some(json!({"mode": "recommend"})), 0),
        (Some(json!({"frozen": "true"})), 0),
        (Some(json!({"mode": "of"})), 0),
        (None, 1),
    ] {
        api.lock().unwrap().switch = data;
        candidate.lead().await;
        market.cycle(Mode::Auto, 0).await;
        assert_eq!(limits(&api).len(), written);
    }
}

#[tokio::test(start_paused = true)]
async fn where_it_only_recommends_the_pod_says_what_it_would_get() {
    let (api, view) = world(&[pod("shop", "top", &json!({"mbcas.mode": "recommend"}))]);
    let (mut market, mut candidate) = market(&api, view, true).await;
    market.cycle(Mode::Auto, 0).await;
    let notes = api.lock().unwrap().notes.clone();
    let [(path, body)] = notes.as_slice() else {
        panic!("{notes:?}")
    };
    assert_eq!(path, "/api/v1/namespaces/shop/pods/top/status");
    assert_eq!(body["metadata"]["uid"], "top");
    let text = body["metadata"]["annotations"]["mbcas.dev/recommendation"]
        .as_str()
        .unwrap();
    assert!(text.contains(r#""container":"app","limit":""#), "{text}");
    assert!(limits(&api).is_empty());
    candidate.lead().await;
    market.cycle(Mode::Auto, 0).await;
    assert_eq!(api.lock().unwrap().notes.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_growth_without_room_in_the_quota_is_not_asked_for_and_is_planned_again() {
    let mut small = pod("shop", "top", &json!({}));
    for path in [
        "/spec/containers/0/resources/limits",
        "/status/containerStatuses/0/resources/limits",
    ] {
        *small.pointer_mut(path).unwrap() = json!({"cpu": "150m"});
    }
    let (api, mut view) = world(&[small]);
    let quota = |used: &str| -> k8s_openapi::api::core::v1::ResourceQuota {
        let quota = json!({"metadata": {"name": "q", "namespace": "shop"}, "spec": {"hard": {"limits.cpu": "4"}},
                           "status": {"used": {"limits.cpu": used}}});
        serde_json::from_value(quota).unwrap()
    };
    crate::cluster::Watched::keep(quota("4"), &mut view);
    let (mut market, mut candidate) = market(&api, view.clone(), true).await;
    market.cycle(Mode::Auto, 0).await;
    assert!(limits(&api).is_empty());
    crate::cluster::Watched::keep(quota("3500m"), &mut view);
    market.cluster = Cluster::with(view);
    candidate.lead().await;
    market.cycle(Mode::Auto, 0).await;
    // What it has, and the half core that is left.
    assert_eq!(
        limits(&api)["/api/v1/namespaces/shop/pods/top/resize"],
        "650m"
    );
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

#[tokio::test(start_paused = true)]
async fn what_cannot_all_be_written_is_written_by_what_it_brings_and_all_of_it_in_time() {
    let pods: Vec<_> = (0..6)
        .map(|i| {
            pod(
                "shop",
                &format!("p{i}"),
                &json!({"mbcas.budget": format!("{}", 100 + i)}),
            )
        })
        .collect();
    let (api, view) = world(&pods);
    let (mut market, mut candidate) = market(&api, view, true).await;
    let (pace, fresh) = (Pace::new(1, 2), Duration::from_millis(500));
    let actuator = Arc::into_inner(market.actuator).unwrap();
    market.actuator = Arc::new(actuator.paced(pace, fresh));
    for cycle in 1..=3 {
        candidate.lead().await;
        market.cycle(Mode::Auto, 0).await;
        assert_eq!(limits(&api).len(), 2 * cycle);
        tokio::time::advance(Duration::from_secs(15)).await;
    }
    // The view does not change here, so six are wanted each time.
    assert_eq!(market.metrics.put_off.get(), 3 * 4);
}
