use mbcas_core::units::{Budget, Demand, MilliCpu};
use mbcas_market::Observed;
use serde_json::{Value, json};

use super::*;
use crate::cluster::{NamespaceView, NodeView, Pods, pod_view};
use crate::discover::discover;
use crate::ids::Ids;

/// Everything that has a say, all of it saying auto.
struct World {
    view: View,
    mode: Mode,
    switch: Bound,
    canary: Canary,
    encounters: Encounters,
    unenforced: Unenforced,
    refused: BTreeSet<ContainerId>,
    contested: BTreeMap<ContainerId, Instant>,
    warming_up: BTreeSet<String>,
}

fn world(annotations: &Value) -> World {
    let resources = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "2"}});
    let mut all = json!({"mbcas.dev/original": r#"{"version":1,"containers":{}}"#});
    all.as_object_mut()
        .unwrap()
        .extend(annotations.as_object().unwrap().clone());
    let pod = json!({
        "metadata": {"namespace": "shop", "name": "web", "uid": "web", "annotations": all},
        "spec": {"nodeName": "n1", "containers": [{"name": "app", "resources": resources}]},
        "status": {"phase": "Running", "qosClass": "Burstable", "containerStatuses": [
            {"name": "app", "image": "i", "imageID": "i", "ready": true, "restartCount": 0, "state": {"running": {}}, "resources": resources}]},
    });
    let pod = pod_view(&serde_json::from_value(pod).unwrap()).unwrap();
    let node = NodeView {
        name: "n1".into(),
        allocatable: MilliCpu::new(2_000),
        cores: MilliCpu::new(2_000),
        kubelet: None,
        is_opted_out: false,
    };
    World {
        view: View {
            pods: Pods::from_iter([pod]),
            nodes: BTreeMap::from([("n1".into(), node)]),
            namespaces: BTreeMap::from([("shop".into(), NamespaceView::default())]),
            ..View::default()
        },
        mode: Mode::Auto,
        switch: Bound::NONE,
        canary: Canary::ALL,
        encounters: Encounters::default(),
        unenforced: Unenforced::default(),
        refused: BTreeSet::new(),
        contested: BTreeMap::new(),
        warming_up: BTreeSet::new(),
    }
}

impl World {
    fn id(&self) -> ContainerId {
        self.view.pods.get("web").unwrap().container("app")
    }

    fn policy(&mut self, mode: Mode) {
        let policy = crate::budget_policies::PolicyView {
            mode: Some(mode),
            ..Default::default()
        };
        self.view.policies.insert("shop".into(), policy);
    }

    /// How far it goes, and what keeps it.
    fn verdict(&self) -> (Mode, Option<Restraint>) {
        let (mode, restrained) = self.permitted();
        (mode, restrained.map(|restrained| restrained.by))
    }

    /// The same with all that is said of it.
    fn permitted(&self) -> (Mode, Option<Restrained>) {
        let observed = Observed {
            request: MilliCpu::new(100),
            limit: None,
            min_cpu: None,
            max_cpu: None,
            budget: Budget::DEFAULT.into(),
            is_scaled: false,
            demand: Demand::NEUTRAL,
            measured: None,
            usage: None,
            starting: false,
            mode: Mode::Observe,
        };
        let mut nodes = [NodeSnapshot {
            node: "n1".into(),
            participants: BTreeMap::from([(self.id(), observed)]),
            ..NodeSnapshot::default()
        }];
        let circumstances = Circumstances {
            mode: self.mode,
            switch: self.switch,
            canary: self.canary,
            unenforced: &self.unenforced,
            contested: &self.contested,
            warming_up: &self.warming_up,
        };
        let discovery = discover(&self.view, &mut Ids::default());
        let restraints = permit(
            &mut nodes,
            &self.view,
            &discovery,
            &circumstances,
            &self.encounters,
            &self.refused,
        );
        let mode = nodes[0].participants[&self.id()].mode;
        let restrained = restraints.get(&self.id());
        assert!(restrained.is_none_or(|restrained| restrained.mode == mode));
        (mode, restrained.copied())
    }
}

#[test]
fn with_nothing_in_the_way_it_is_resized() {
    assert_eq!(world(&json!({})).verdict(), (Mode::Auto, None));
    assert_eq!(
        world(&json!({"mbcas.mode": "auto"})).verdict(),
        (Mode::Auto, None)
    );
}

/// How somebody says it.
type Say = fn(&mut World);

/// Everybody who has a say, by word.
const WORDS: [(&str, Say); 14] = [
    ("controller", |w| w.mode = Mode::Recommend),
    ("switch", |w| w.switch.most = Mode::Recommend),
    ("frozen", |w| w.switch.is_frozen = true),
    ("frozen", |w| {
        w.view.namespaces.get_mut("shop").unwrap().is_frozen = true;
    }),
    ("policy", |w| w.policy(Mode::Recommend)),
    ("node", |w| {
        w.view.nodes.get_mut("n1").unwrap().is_opted_out = true;
    }),
    ("no_quota", |w| w.unenforced = Unenforced::known("n1")),
    ("vpa", |w| {
        let id = w.id();
        w.encounters.vertical.insert(id);
    }),
    ("boost", |w| {
        let mut pod = w.view.pods.get("web").unwrap().clone();
        pod.is_boosted = true;
        w.view.pods.insert(pod);
    }),
    ("limit_range", |w| {
        let id = w.id();
        w.refused.insert(id);
    }),
    ("contested", |w| {
        w.contested.extend([(w.id(), Instant::now())]);
    }),
    ("canary", |w| w.canary = "0".parse().unwrap()),
    ("warming_up", |w| w.warming_up.extend(["n1".to_owned()])),
    ("pod", |w| *w = world(&json!({"mbcas.mode": "recommend"}))),
];

#[test]
fn everybody_who_has_a_say_can_hold_it_back() {
    for (word, say) in WORDS {
        let mut world = world(&json!({}));
        say(&mut world);
        let (mode, by) = world.verdict();
        assert_eq!(mode, Mode::Recommend, "{by:?}");
        assert_eq!(by.unwrap().word(), word);
    }
}

#[test]
fn some_let_it_go_unless_another_keeps_it_as_it_is() {
    for (word, say) in WORDS {
        let mut world = world(&json!({}));
        say(&mut world);
        let alone = world.permitted().1.unwrap().let_go;
        let lets_go = ["policy", "pod", "canary"].contains(&word);
        assert_eq!(alone.map(Restraint::word), lets_go.then_some(word));
        // Beside a namespace that lets it go.
        world.policy(Mode::Recommend);
        let beside = world.permitted().1.unwrap().let_go;
        let says_nothing = ["no_quota", "limit_range", "warming_up"].contains(&word);
        assert_eq!(
            beside.is_some(),
            lets_go || says_nothing,
            "{word}: {beside:?}"
        );
    }
}

#[test]
fn a_horizontal_autoscaler_does_not_keep_limits_from_being_set() {
    let mut world = world(&json!({}));
    let id = world.id();
    world.encounters.horizontal.insert(id);
    assert_eq!(world.verdict(), (Mode::Auto, None));
}

#[test]
fn the_most_careful_word_counts_and_nobody_can_raise_it() {
    let mut careful = world(&json!({"mbcas.mode": "observe"}));
    careful.policy(Mode::Auto);
    careful.switch.most = Mode::Recommend;
    assert_eq!(careful.verdict(), (Mode::Observe, Some(Restraint::Pod)));

    let mut policy = world(&json!({"mbcas.mode": "auto"}));
    policy.policy(Mode::Observe);
    assert_eq!(policy.verdict(), (Mode::Observe, Some(Restraint::Policy)));

    let mut both = world(&json!({"mbcas.mode": "recommend"}));
    both.mode = Mode::Recommend;
    assert_eq!(
        both.verdict(),
        (Mode::Recommend, Some(Restraint::Controller))
    );
}
