use futures::FutureExt;
use mbcas_api::BudgetPolicy;
use mbcas_core::units::MilliCpu;
use serde_json::{Value, json};

use super::*;
use crate::admit::tests::{pod, policy};
use crate::cache::Rule;
use crate::events::Received;
use crate::namespace::Namespace;

/// A replica that knows the namespace's policy, and what it has to tell.
fn replica(total: u32) -> (Judge, Received) {
    let (notes, received) = Notes::new();
    let cache = Arc::new(Cache::default());
    let rules: BudgetPolicy = serde_json::from_value(json!({
        "apiVersion": "mbcas.dev/v1alpha1", "kind": "BudgetPolicy", "metadata": {"name": "default"},
        "spec": {"budget": {"total": total}},
    }))
    .unwrap();
    cache.with(|world| BudgetPolicy::set(Some(&rules), "shop", "default", world));
    let judge = Judge {
        policy: policy(),
        cache,
        notes,
    };
    (judge, received)
}

fn review(pod: &Value, dry_run: bool) -> Review<Outline> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
            "namespace": "shop", "dryRun": dry_run, "object": pod,
        },
    });
    Review::parse(review.to_string().as_bytes()).unwrap()
}

fn decision(judge: &Judge, pod: &Value) -> &'static str {
    judge.inject(&review(pod, false)).unwrap().decision
}

/// The pod as a watch shows it once it was stored.
fn stored(judge: &Judge, pod: &Value, uid: u8) -> Value {
    let namespace = Namespace::default();
    let verdict = crate::admit(pod, &judge.policy, &namespace).unwrap();
    let mut stored = pod.clone();
    json_patch::patch(&mut stored, &verdict.patch.operations().unwrap()).unwrap();
    stored["metadata"]["namespace"] = json!("shop");
    stored["metadata"]["uid"] = json!(format!("00000000-0000-0000-0000-{uid:012}"));
    stored
}

#[test]
fn what_a_replica_admitted_counts_at_once() {
    let (judge, _notes) = replica(600);
    assert_eq!(decision(&judge, &pod()), "inject");
    assert_eq!(decision(&judge, &pod()), "inject");
    assert_eq!(decision(&judge, &pod()), "deny");
}

/// The other half, where the market clamps what was let in, is the controller's.
#[test]
fn two_replicas_that_race_may_overshoot_until_they_have_seen_each_others_pods() {
    let (one, _one) = replica(300);
    let (other, _other) = replica(300);
    assert_eq!(decision(&one, &pod()), "inject");
    assert_eq!(decision(&other, &pod()), "inject");
    for judge in [&one, &other] {
        for uid in [1, 2] {
            let stored = stored(judge, &pod(), uid);
            let meta = serde_json::from_value(stored["metadata"].clone()).unwrap();
            judge.cache.pod_seen(&meta, 1);
        }
        let held = judge.cache.namespace("shop", Instant::now()).held;
        assert_eq!((held.pods, held.budget), (2, 600));
        assert_eq!(held.floors, MilliCpu::new(200));
        assert_eq!(decision(judge, &pod()), "deny");
    }
}

#[test]
fn a_dry_run_leaves_no_trace() {
    let (judge, mut notes) = replica(300);
    let mut out = pod();
    out["spec"]["containers"][0]["resources"] = json!({});
    for pod in [pod(), pod(), out] {
        let answer = judge.inject(&review(&pod, true)).unwrap();
        assert_ne!(answer.decision, "deny");
    }
    assert!(notes.next().now_or_never().is_none());
    let held = judge.cache.namespace("shop", Instant::now()).held;
    assert_eq!(held.pods, 0);
}

#[test]
fn the_controller_of_a_pod_without_an_agent_is_told_why() {
    let (judge, mut notes) = replica(300);
    let mut out = pod();
    out["spec"]["containers"][0]["resources"] = json!({});
    assert_eq!(decision(&judge, &out), "skip");
    let note = notes.next().now_or_never().flatten().unwrap();
    assert_eq!(note.reason, "NotInjected");
    assert_eq!(note.regarding.kind.as_deref(), Some("ReplicaSet"));
    assert_eq!(note.regarding.namespace.as_deref(), Some("shop"));
    assert!(note.text.starts_with("best_effort: "), "{}", note.text);
    out["metadata"]["ownerReferences"] = json!([]);
    decision(&judge, &out);
    assert!(
        notes.next().now_or_never().is_none(),
        "a bare pod is not there yet"
    );
}
