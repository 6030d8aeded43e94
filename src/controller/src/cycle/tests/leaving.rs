//! What the market moved comes back where it moves it no more.

use super::*;

/// A pod of 100m to 500m, of which the market has made 250m.
fn moved(namespace: &str, name: &str, annotations: &Value) -> Value {
    let mut pod = pod(namespace, name, annotations);
    let original = r#"{"version":1,"participant":"app","containers":{"app":{"request":"100m","limit":"500m"}}}"#;
    pod["metadata"]["annotations"]["mbcas.dev/original"] = json!(original);
    let owned = json!({"f:resources": {"f:limits": {"f:cpu": {}}}});
    pod["metadata"]["managedFields"] = json!([{
        "manager": "mbcas", "operation": "Apply", "subresource": "resize", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:containers": {"k:{\"name\":\"app\"}": owned}}},
    }]);
    let resources = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "250m"}});
    pod["spec"]["containers"][0]["resources"] = resources.clone();
    pod["status"]["containerStatuses"][0]["resources"] = resources;
    pod
}

const NOTHING: [String; 0] = [];

fn opted_out() -> Value {
    moved("shop", "web", &json!({"mbcas.enabled": "false"}))
}

/// What is written for `pod` in as many cycles, in a world that `edit` makes special.
async fn written(
    pod: Value,
    cycles: usize,
    mode: Mode,
    edit: impl FnOnce(&mut FakeApi, &mut View, &mut Canary),
) -> Vec<String> {
    let (api, mut view) = world(&[pod]);
    let mut canary = Canary::ALL;
    edit(&mut api.lock().unwrap(), &mut view, &mut canary);
    let (mut market, _candidate) = market(&api, view, true).await;
    market.canary = canary;
    for _ in 0..cycles {
        market.cycle(mode, 0).await;
    }
    limits(&api).into_values().collect()
}

#[tokio::test(start_paused = true)]
async fn whoever_is_let_go_gets_back_what_it_had_in_the_second_cycle() {
    let same = |_: &mut FakeApi, _: &mut View, _: &mut Canary| {};
    let unlabelled = moved("elsewhere", "web", &json!({}));
    let careful = moved("shop", "web", &json!({"mbcas.mode": "recommend"}));
    for pod in [opted_out(), unlabelled, careful] {
        let after = async |cycles| written(pod.clone(), cycles, Mode::Auto, same).await;
        assert_eq!(after(1).await, NOTHING, "{pod}");
        assert_eq!(after(2).await, ["500m"], "{pod}");
    }
    let plain = moved("shop", "web", &json!({}));
    let by_policy = |_: &mut FakeApi, view: &mut View, _: &mut Canary| {
        with_policy(view, &json!({"mode": "observe"}));
    };
    assert_eq!(
        written(plain.clone(), 2, Mode::Auto, by_policy).await,
        ["500m"]
    );
    let by_canary =
        |_: &mut FakeApi, _: &mut View, canary: &mut Canary| *canary = "0".parse().unwrap();
    assert_eq!(written(plain, 2, Mode::Auto, by_canary).await, ["500m"]);
}

#[tokio::test(start_paused = true)]
async fn what_stops_the_market_leaves_limits_as_they_are() {
    let stays = async |mode, edit: fn(&mut FakeApi, &mut View, &mut Canary)| {
        assert_eq!(written(opted_out(), 3, mode, edit).await, NOTHING);
    };
    stays(Mode::Recommend, |_, _, _| {}).await;
    stays(Mode::Auto, |api, _, _| {
        api.switch = Some(json!({"frozen": "true"}));
    })
    .await;
    stays(Mode::Auto, |api, _, _| {
        api.switch = Some(json!({"mode": "observe"}));
    })
    .await;
    stays(Mode::Auto, |_, view, _| {
        view.namespaces.get_mut("shop").unwrap().is_frozen = true;
    })
    .await;
    stays(Mode::Auto, |_, view, _| {
        view.nodes.get_mut("n1").unwrap().is_opted_out = true;
    })
    .await;
    stays(Mode::Auto, |_, view, _| view.nodes.clear()).await;
    stays(Mode::Auto, |_, view, _| {
        let mut pod = view.pods.get("web").unwrap().clone();
        pod.is_boosted = true;
        view.pods.insert(pod);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_another_set_or_nobody_moved_is_left_alone() {
    let same = |_: &mut FakeApi, _: &mut View, _: &mut Canary| {};
    let mut anothers = opted_out();
    anothers["metadata"]["managedFields"][0]["manager"] = json!("somebody");
    let mut as_it_was = opted_out();
    as_it_was["spec"]["containers"][0]["resources"]["limits"]["cpu"] = json!("0.5");
    for pod in [anothers, as_it_was] {
        assert_eq!(written(pod, 3, Mode::Auto, same).await, NOTHING);
    }
}

/// Another leader may have moved it since.
#[tokio::test(start_paused = true)]
async fn what_was_done_in_another_term_is_done_again() {
    let (api, view) = world(&[opted_out()]);
    let (mut market, _candidate) = market(&api, view, true).await;
    for _ in 0..3 {
        market.cycle(Mode::Auto, 0).await;
    }
    assert_eq!(api.lock().unwrap().writes.len(), 1);
    // It led in another term between.
    market.epoch = Some(7);
    for _ in 0..3 {
        market.cycle(Mode::Auto, 0).await;
    }
    assert_eq!(api.lock().unwrap().writes.len(), 2);
}

/// The API server does not take it: said, and tried again later.
#[tokio::test(start_paused = true)]
async fn what_fails_is_said_and_tried_again() {
    let (api, view) = world(&[opted_out()]);
    api.lock().unwrap().pods[0]["metadata"]["annotations"]["mbcas.dev/original"] = json!("{");
    let (mut market, mut candidate) = market(&api, view, true).await;
    for _ in 0..3 {
        market.cycle(Mode::Auto, 0).await;
    }
    let failed = market
        .metrics
        .let_go
        .with_label_values(&["opted_out", "failed"]);
    assert_eq!(failed.get(), 1);
    assert!(matches!(&events(&api)[..], [(reason, _)] if reason == "NotRestored"));
    tokio::time::advance(Duration::from_secs(20)).await;
    candidate.lead().await;
    market.cycle(Mode::Auto, 0).await;
    assert_eq!(failed.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn it_is_said_on_the_pod_and_tried_once() {
    let unlimited = r#"{"version":1,"participant":"app","containers":{"app":{"request":"100m"}}}"#;
    let mut pod = opted_out();
    pod["metadata"]["annotations"]["mbcas.dev/original"] = json!(unlimited);
    let (api, view) = world(&[pod]);
    let (mut market, _candidate) = market(&api, view, true).await;
    for _ in 0..4 {
        market.cycle(Mode::Auto, 0).await;
    }
    assert_eq!(api.lock().unwrap().writes.len(), 1);
    let written: Vec<_> = limits(&api).into_values().collect();
    assert_eq!(written, ["2"], "what the node has");
    let events = events(&api);
    let [(reason, note)] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(reason, "Restored");
    assert!(
        note.contains("(opted_out)") && note.contains("250m → 2") && note.contains("had no limit"),
        "{note}"
    );
    let done = market
        .metrics
        .let_go
        .with_label_values(&["opted_out", "done"]);
    assert_eq!(done.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn another_resizers_limit_stays_and_is_not_asked_for_again() {
    let (api, view) = world(&[opted_out()]);
    api.lock().unwrap().is_contested = true;
    let (mut market, _candidate) = market(&api, view, true).await;
    for _ in 0..4 {
        market.cycle(Mode::Auto, 0).await;
    }
    // Asked twice, as what is only stale looks contested at first.
    let tried = api.lock().unwrap().writes.len();
    assert!(tried <= 2, "{tried}");
    let left = market
        .metrics
        .let_go
        .with_label_values(&["opted_out", "not_ours"]);
    assert_eq!(left.get(), 1);
}

/// A pod of two containers that both have to be given back theirs, by a hand that has one write's time for it.
async fn of_two(is_contested: bool) -> Vec<(String, String)> {
    let original = r#"{"version":1,"participant":"app","containers":{"app":{"request":"100m","limit":"500m"},"side":{"request":"100m","limit":"400m"}}}"#;
    let mut pod = opted_out();
    pod["metadata"]["annotations"]["mbcas.dev/original"] = json!(original);
    for (list, field) in [("spec", "containers"), ("status", "containerStatuses")] {
        let mut second = pod[list][field][0].clone();
        second["name"] = json!("side");
        pod[list][field].as_array_mut().unwrap().push(second);
    }
    let owned = &mut pod["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:containers"];
    owned["k:{\"name\":\"side\"}"] = owned["k:{\"name\":\"app\"}"].clone();
    let (api, view) = world(&[pod]);
    api.lock().unwrap().is_contested = is_contested;
    let (mut market, _candidate) = market(&api, view, true).await;
    let hand = Arc::into_inner(market.actuator).unwrap();
    market.actuator = Arc::new(hand.paced(Pace::new(1, 1), Duration::from_millis(500)));
    for _ in 0..2 {
        market.cycle(Mode::Auto, 0).await;
    }
    assert!(!api.lock().unwrap().writes.is_empty());
    events(&api)
}

#[tokio::test(start_paused = true)]
async fn what_was_given_back_is_said_though_the_rest_has_to_wait() {
    let said = of_two(false).await;
    let [(reason, note)] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!(reason, "Restored");
    assert!(
        note.contains("the rest follows") && note.contains("app: ") && !note.contains("side: "),
        "{note}"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_of_one_of_which_nothing_was_given_back_yet() {
    assert_eq!(of_two(true).await, []);
}
