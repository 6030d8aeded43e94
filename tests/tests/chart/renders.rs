//! Every set, rendered by both helms, twice.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::sets::{self, CLUSTERS, Set};
use crate::support::{Helm, find, name, objects, output_of, rendered};

/// What helm 4 makes of a set.
pub(crate) struct Render {
    pub(crate) set: String,
    pub(crate) cluster: &'static str,
    pub(crate) text: String,
    pub(crate) objects: Vec<Value>,
}

/// Every set, rendered once, whoever asks first.
pub(crate) fn all() -> &'static [Render] {
    static ALL: OnceLock<Vec<Render>> = OnceLock::new();
    ALL.get_or_init(|| {
        in_parallel(&sets::all(), |set| {
            let text = render(Helm::Four, set);
            Render {
                set: set.name.clone(),
                cluster: set.cluster,
                objects: objects(&text),
                text,
            }
        })
    })
}

/// Every object of every set, with the name of the set.
pub(crate) fn everything() -> impl Iterator<Item = (&'static Render, &'static Value)> {
    all()
        .iter()
        .flat_map(|render| render.objects.iter().map(move |object| (render, object)))
}

fn render(helm: Helm, set: &Set) -> String {
    let values = set.file.to_str().unwrap();
    output_of(&mut helm.template(&["--values", values, "--kube-version", set.cluster]))
}

/// helm is a process per set: as many at once as there are cores.
fn in_parallel<T: Send>(sets: &[Set], work: impl Fn(&Set) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let mut done: Vec<(usize, T)> = std::thread::scope(|scope| {
        let run = || {
            let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
            let mine = numbers.take_while(|number| *number < sets.len());
            mine.map(|number| (number, work(&sets[number])))
                .collect::<Vec<_>>()
        };
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(run)).collect();
        running
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, done)| done).collect()
}

#[test]
fn both_helms_render_every_set_twice_to_the_same_bytes_and_agree() {
    let (sets, first) = (sets::all(), all());
    assert!(sets.len() >= 40, "{} sets", sets.len());
    let others = in_parallel(&sets, |set| {
        let three = render(Helm::Three, set);
        assert_eq!(
            three,
            render(Helm::Three, set),
            "{}: helm 3 renders two ways",
            set.name
        );
        (render(Helm::Four, set), objects(&three))
    });
    for (render, (again, three)) in first.iter().zip(others) {
        assert_eq!(
            render.text, again,
            "{}: helm 4 renders two ways",
            render.set
        );
        assert_eq!(
            sorted(&render.objects),
            sorted(&three),
            "{}: helm 3 and helm 4 differ",
            render.set
        );
    }
    println!("{} sets, each rendered twice by each helm", sets.len());
}

fn sorted(objects: &[Value]) -> Vec<String> {
    let mut texts: Vec<_> = objects.iter().map(Value::to_string).collect();
    texts.sort();
    texts
}

#[test]
fn no_object_appears_twice_and_each_is_where_the_release_is() {
    for render in all() {
        let mut seen = std::collections::BTreeSet::new();
        for object in &render.objects {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
            assert!(
                seen.insert((name(object), namespace)),
                "{}: {} twice",
                render.set,
                name(object)
            );
        }
    }
}

/// Policies that change what they see came with 1.36: there is one, and nothing else depends on the version.
#[test]
fn what_is_rendered_depends_on_the_clusters_version_in_one_policy_only() {
    let at = |version: &str| rendered(&["--kube-version", version]);
    let least = at(CLUSTERS[0]);
    for version in ["1.34.1", "1.35.0", "v1.33.1-gke.1000"] {
        assert_eq!(least, at(version), "{version}");
    }
    for version in ["1.36.2", "1.37.2", "v1.36.1-gke.1000"] {
        let (more, same): (Vec<_>, Vec<_>) = at(version).into_iter().partition(|object| {
            object["kind"].as_str().unwrap().starts_with("Mutating")
                && object["kind"] != "MutatingWebhookConfiguration"
        });
        assert_eq!(least, same, "{version}");
        let more: Vec<_> = more.iter().map(name).collect();
        let record = ["Policy", "PolicyBinding"];
        let record = record.map(|kind| format!("MutatingAdmission{kind} mbcas-guard-record"));
        assert_eq!(more, record, "{version}");
    }
}

#[test]
fn helm_finds_nothing_to_say_against_the_chart() {
    for helm in Helm::BOTH {
        output_of(
            helm.command()
                .args(["lint", "--strict", "--quiet", "./chart"]),
        );
    }
}

#[test]
fn the_overlay_for_high_availability_survives_the_loss_of_a_node() {
    let objects = rendered(&["--values", "chart/values-ha.yaml"]);
    for component in ["mbcas-webhook", "mbcas-controller"] {
        let deployment = find(&objects, "Deployment", component);
        assert!(
            deployment["spec"]["replicas"].as_u64().unwrap() >= 2,
            "{component}"
        );
        find(&objects, "PodDisruptionBudget", component);
        let spread = &deployment["spec"]["template"]["spec"]["topologySpreadConstraints"];
        assert_eq!(spread[0]["topologyKey"], "kubernetes.io/hostname");
        assert_eq!(spread[0]["whenUnsatisfiable"], "DoNotSchedule");
    }
}
