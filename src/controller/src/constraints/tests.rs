use mbcas_core::annotations::Mode;
use mbcas_core::units::{Budget, Demand};
use mbcas_market::{LimitReason, Observed, Reasoning, Write};
use serde_json::{Value, json};

use super::*;
use crate::cluster::pod_view;

/// A pod with `app` (100m to 500m) and `log` (50m to 50m).
fn pod(name: &str, edit: impl FnOnce(&mut Value)) -> PodView {
    let container = |name: &str, request: &str, limit: &str| json!({"name": name, "resources": {"requests": {"cpu": request}, "limits": {"cpu": limit}}});
    let mut pod = json!({
        "metadata": {"namespace": "shop", "name": name, "uid": name},
        "spec": {"nodeName": "n1", "containers": [container("app", "100m", "500m"), container("log", "50m", "50m")]},
        "status": {"phase": "Running"},
    });
    edit(&mut pod);
    pod_view(&serde_json::from_value(pod).unwrap()).unwrap()
}

fn range(limits: &Value) -> LimitRange {
    serde_json::from_value(
        json!({"metadata": {"namespace": "shop", "name": "r"}, "spec": {"limits": limits}}),
    )
    .unwrap()
}

fn quota(name: &str, hard: &str, used: &str, more: &Value) -> ResourceQuota {
    let mut quota = json!({"metadata": {"namespace": "shop", "name": name}, "spec": {"hard": {"limits.cpu": hard}},
                           "status": {"hard": {"limits.cpu": hard}, "used": {"limits.cpu": used}}});
    quota["spec"]
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    serde_json::from_value(quota).unwrap()
}

fn observed() -> Observed {
    Observed {
        request: MilliCpu::new(100),
        limit: Some(MilliCpu::new(500)),
        min_cpu: None,
        max_cpu: Some(MilliCpu::new(4_000)),
        budget: Budget::DEFAULT.into(),
        is_scaled: false,
        demand: Demand::NEUTRAL,
        measured: None,
        usage: None,
        starting: false,
        mode: Mode::Auto,
    }
}

/// A node with `pods`, of which `app` takes part.
fn world(pods: Vec<PodView>) -> (View, Vec<NodeSnapshot>) {
    let participants = pods
        .iter()
        .map(|pod| (pod.container("app"), observed()))
        .collect();
    let node = NodeSnapshot {
        node: "n1".into(),
        participants,
        ..NodeSnapshot::default()
    };
    let view = View {
        pods: pods.into_iter().collect(),
        ..View::default()
    };
    (view, vec![node])
}

/// The cap of a pod's `app` under `limits`, and whether every limit is refused.
fn capped(limits: &Value) -> (u64, bool) {
    let (mut view, mut nodes) = world(vec![pod("a", |_| ())]);
    range(limits).keep(&mut view);
    let refused = constrain(&mut nodes, &view);
    let cap = nodes[0]
        .participants
        .values()
        .next()
        .unwrap()
        .cap(MilliCpu::new(8_000));
    (cap.get(), !refused.is_empty())
}

#[test]
fn a_limit_range_caps_the_container_and_the_pod() {
    assert_eq!(capped(&json!([])), (4_000, false));
    assert_eq!(
        capped(&json!([{"type": "Container", "max": {"cpu": "2"}}])),
        (2_000, false)
    );
    let ratio = json!([{"type": "Container", "max": {"memory": "1Gi"}, "maxLimitRequestRatio": {"cpu": "7.5"}}]);
    assert_eq!(capped(&ratio), (750, false));
    // The other container's 50m are taken from the pod's.
    assert_eq!(
        capped(&json!([{"type": "Pod", "max": {"cpu": "1"}}])),
        (950, false)
    );
    assert_eq!(
        capped(&json!([{"type": "Pod", "maxLimitRequestRatio": {"cpu": "4"}}])),
        (550, false)
    );
    let both = json!([{"type": "Container", "max": {"cpu": "2"}}, {"type": "Container", "max": {"cpu": "1"}}]);
    assert_eq!(capped(&both), (1_000, false));
    assert_eq!(
        capped(&json!([{"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}])),
        (4_000, false)
    );
}

#[test]
fn a_limit_range_below_the_request_lets_nothing_be_written() {
    assert_eq!(
        capped(&json!([{"type": "Container", "max": {"cpu": "50m"}}])),
        (4_000, true)
    );
}

#[test]
fn a_floor_gives_way_to_a_limit_range_that_is_below_it() {
    let (mut view, mut nodes) = world(vec![pod("a", |_| ())]);
    nodes[0].participants.values_mut().next().unwrap().min_cpu = Some(MilliCpu::new(900));
    range(&json!([{"type": "Container", "max": {"cpu": "600m"}}])).keep(&mut view);
    constrain(&mut nodes, &view);
    let app = nodes[0].participants.values().next().unwrap();
    assert_eq!(
        (app.floor().get(), app.cap(MilliCpu::new(8_000)).get()),
        (600, 600)
    );
}

#[test]
fn one_containers_growth_is_capped_by_what_is_left_of_the_quotas_that_are_about_its_pod() {
    let cap = |quotas: &[ResourceQuota], pod: PodView| {
        let (mut view, mut nodes) = world(vec![pod]);
        for quota in quotas {
            quota.clone().keep(&mut view);
        }
        constrain(&mut nodes, &view);
        let app = nodes[0].participants.values().next().unwrap();
        app.cap(MilliCpu::new(8_000)).get()
    };
    let plain = || pod("a", |_| ());
    let batch = || pod("a", |pod| pod["spec"]["priorityClassName"] = json!("batch"));
    let none = json!({});
    let of_batch = json!({"scopeSelector": {"matchExpressions": [
        {"scopeName": "PriorityClass", "operator": "In", "values": ["batch"]}]}});
    assert_eq!(cap(&[quota("q", "4", "3", &none)], plain()), 1_500);
    assert_eq!(cap(&[quota("q", "4", "5", &none)], plain()), 500);
    assert_eq!(
        cap(
            &[quota("q", "4", "3", &none), quota("r", "9", "8500m", &none)],
            plain()
        ),
        1_000
    );
    assert_eq!(cap(&[quota("q", "4", "4", &of_batch)], plain()), 4_000);
    assert_eq!(cap(&[quota("q", "4", "4", &of_batch)], batch()), 500);
    assert_eq!(
        cap(
            &[quota("q", "4", "4", &json!({"scopes": ["Terminating"]}))],
            plain()
        ),
        4_000
    );
    assert_eq!(
        cap(
            &[quota(
                "q",
                "4",
                "4",
                &json!({"scopes": ["NotTerminating", "NotBestEffort"]})
            )],
            plain()
        ),
        500
    );
    assert_eq!(
        cap(
            &[quota("q", "4", "4", &json!({"scopes": ["BestEffort"]}))],
            plain()
        ),
        4_000
    );
}

fn write(pod: &PodView, from: Option<u64>, to: u64) -> Write {
    Write {
        id: pod.container("app"),
        from: from.map(MilliCpu::new),
        to: MilliCpu::new(to),
        reason: Reasoning::CapBinds {
            cap: MilliCpu::new(to),
        },
        limit_reason: LimitReason::Rule,
        needs_donor: true,
    }
}

#[test]
fn growths_that_do_not_fit_together_are_left_out_after_those_that_do() {
    let pods = vec![
        pod("a", |_| ()),
        pod("b", |_| ()),
        pod("c", |_| ()),
        pod("d", |_| ()),
    ];
    let writes = vec![
        // A shrink frees nothing of a quota before its controller has counted.
        write(&pods[0], Some(500), 300),
        write(&pods[1], Some(500), 1_100),
        write(&pods[2], Some(500), 1_000),
        write(&pods[3], Some(500), 900),
    ];
    let (mut view, nodes) = world(pods);
    quota("q", "4", "3", &json!({})).keep(&mut view);
    let plan = Plan {
        writes,
        ..Plan::default()
    };
    let mut plans = vec![plan];
    assert_eq!(
        within_quotas(&mut plans, &nodes, &BTreeMap::new(), &view),
        1
    );
    let left: Vec<_> = plans[0]
        .writes
        .iter()
        .map(|w| w.id.pod.name.as_str())
        .collect();
    assert_eq!(left, ["a", "b", "d"]);
    // A quota of another namespace is not ours.
    let (_, quota) = view.quotas.pop_first().unwrap();
    view.quotas.insert(("other".into(), "q".into()), quota);
    plans[0]
        .writes
        .push(write(view.pods.get("c").unwrap(), None, 9_000));
    assert_eq!(
        within_quotas(&mut plans, &nodes, &BTreeMap::new(), &view),
        0
    );
}
