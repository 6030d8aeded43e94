//! Whole cycles against pods with kubelets that take their time.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::stage::{Kubelet, Refusal, Stage, plan, write};
use super::*;

const SOON: Kubelet = Kubelet::After(Duration::from_millis(160));
const NEVER: Kubelet = Kubelet::After(Duration::from_hours(1));

/// The first term, and a cycle in it.
const NOW: (i32, Turn) = (0, Turn::Cycle);

fn nobody(_: &ContainerId) -> Option<Timestamp> {
    None
}

fn word(outcomes: &Outcomes, name: &str) -> &'static str {
    let found = outcomes.iter().find(|(id, _)| id.pod.name == name);
    found.map_or("none", |(_, outcome)| outcome.word())
}

fn free(write: Write) -> Write {
    Write {
        needs_donor: false,
        ..write
    }
}

#[tokio::test(start_paused = true)]
async fn growth_that_needs_a_donor_comes_after_the_confirmation_and_other_growth_at_once() {
    let stage = Stage::default();
    let slow = Kubelet::After(Duration::from_secs(3));
    stage
        .pod("give", 500, slow)
        .pod("take", 100, SOON)
        .pod("free", 100, SOON);
    let hand = stage.leading_hand().await;
    let begun = Instant::now();
    let writes = [
        write("give", 500, 300),
        write("take", 100, 300),
        free(write("free", 100, 150)),
    ];
    let outcomes = hand.actuate(&[plan(writes)], NOW, nobody).await;
    for name in ["give", "take", "free"] {
        assert_eq!(word(&outcomes, name), "done", "{name}");
    }
    let at = |name: &str| {
        let seen = stage.state();
        let tried = seen.tried.iter().find(|t| t.pod == name).unwrap();
        tried.at.duration_since(begun).as_secs_f64()
    };
    assert!(
        at("free") < 0.01 && at("give") < 0.01,
        "{} {}",
        at("free"),
        at("give")
    );
    assert!((3.0..3.5).contains(&at("take")), "{}", at("take"));
    assert_eq!(stage.state().worst, 500 + 100 + 150);
}

#[tokio::test(start_paused = true)]
async fn growth_without_a_donor_does_not_wait_behind_shrinks_that_hang() {
    let stage = Stage::default();
    let mut writes = Vec::new();
    for index in 0..8 {
        let name = format!("hang-{index}");
        stage.pod(&name, 500, NEVER);
        writes.push(write(&name, 500, 400));
    }
    stage.pod("free", 100, SOON);
    writes.push(free(write("free", 100, 150)));
    let hand = stage.leading_hand().await;
    let begun = Instant::now();
    hand.actuate(&[plan(writes)], NOW, nobody).await;
    let seen = stage.state();
    let tried = seen.tried.iter().find(|t| t.pod == "free").unwrap();
    assert!(tried.at.duration_since(begun) < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_fails_holds_back_its_own_share_of_growth_and_no_more() {
    let stage = Stage::default();
    stage.pod("stuck", 500, NEVER).pod("give", 500, SOON);
    stage
        .pod("small", 100, SOON)
        .pod("large", 100, SOON)
        .pod("other", 100, SOON);
    let hand = stage.leading_hand().await;
    let node = [
        write("stuck", 500, 400),
        write("give", 500, 300),
        write("large", 100, 280),
        write("small", 100, 200),
    ];
    let elsewhere = [write("other", 100, 200)];
    let outcomes = hand
        .actuate(&[plan(node), plan(elsewhere)], NOW, nobody)
        .await;
    assert_eq!(word(&outcomes, "stuck"), "unconfirmed");
    assert_eq!(word(&outcomes, "give"), "done");
    assert_eq!(word(&outcomes, "large"), "done");
    assert_eq!(word(&outcomes, "small"), "put_off");
    assert_eq!(word(&outcomes, "other"), "done");
}

#[tokio::test(start_paused = true)]
async fn at_most_five_writes_of_a_node_are_in_flight() {
    let stage = Stage::default();
    let mut writes = Vec::new();
    for index in 0..23 {
        let name = format!("p{index}");
        stage.pod(&name, 100, Kubelet::After(Duration::from_millis(1800)));
        writes.push(free(write(&name, 100, 150)));
    }
    let hand = stage.leading_hand().await;
    let outcomes = hand.actuate(&[plan(writes)], NOW, nobody).await;
    assert!(outcomes.values().all(|o| matches!(o, Outcome::Done(_))));
    assert_eq!(stage.state().in_flight, 5);
}

/// `count` nodes with one pod each that is to grow.
fn fleet(stage: &Stage, count: u64) -> Vec<Plan> {
    let node = |index: u64| {
        let name = format!("p{index:04}");
        stage.pod(&name, 100, SOON);
        plan([write(&name, 100, 150)])
    };
    (0..count).map(node).collect()
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_written_to_at_its_budget_and_everybody_has_a_turn() {
    let stage = Stage::default();
    let plans = fleet(&stage, 800);
    let hand = stage.leading_hand().await;
    let mut done = BTreeSet::new();
    for cycle in 1..=4 {
        let begun = Instant::now();
        let outcomes = hand.actuate(&plans, NOW, nobody).await;
        let took = begun.elapsed();
        assert!(took <= FRESH + CONFIRMATION, "{took:?}");
        let written = outcomes
            .iter()
            .filter(|(_, o)| matches!(o, Outcome::Done(_)));
        done.extend(written.map(|(id, _)| id.pod.name.clone()));
        let put_off = outcomes
            .values()
            .filter(|o| matches!(o, Outcome::PutOff))
            .count();
        assert!(put_off > 0 || cycle > 2, "800 writes are no cycle's work");
    }
    assert_eq!(done.len(), 800, "somebody starves");
    let seen = stage.state();
    let at: Vec<Instant> = seen.tried.iter().map(|t| t.at).collect();
    for (index, first) in at.iter().enumerate() {
        let within = at[index..]
            .iter()
            .take_while(|t| **t - *first <= Duration::from_secs(1));
        assert!(
            within.count() <= 60 + 1,
            "more than a burst and a second's rate"
        );
    }
    let seconds = (*at.last().unwrap() - at[0]).as_secs_f64();
    assert!(
        800.0 <= 40.0 + 20.0 * seconds + 1.0,
        "800 writes in {seconds} s"
    );
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_429_stops_everybody_for_as_long_as_the_server_asks() {
    let stage = Stage::default();
    let plans = fleet(&stage, 30);
    stage.state().storm = Some((Instant::now() + Duration::from_secs(10), 4, 0));
    let hand = stage.leading_hand().await;
    let first = hand.actuate(&plans, NOW, nobody).await;
    let second = hand.actuate(&plans, NOW, nobody).await;
    let is_done = |outcomes: &Outcomes, id| matches!(outcomes[id], Outcome::Done(_));
    for id in first.keys() {
        assert!(
            is_done(&first, id) != is_done(&second, id),
            "{id}: {first:?} {second:?}"
        );
    }
    // All thirty had their turn in the first moment; then the plain rate starts again twice,
    // and is stopped at once.
    let (_, _, refused) = stage.state().storm.unwrap();
    assert!(
        refused <= 30 + 10,
        "{refused} requests were made in the storm"
    );
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_409_is_outlasted_and_each_try_is_one_of_the_budget() {
    let stage = Stage::default();
    let plans = fleet(&stage, 20);
    for plan in &plans {
        stage.refuse(&plan.writes[0].id.pod.name, vec![Refusal::stale(); 4]);
    }
    let hand = stage.leading_hand().await;
    let begun = Instant::now();
    let outcomes = hand.actuate(&plans, NOW, nobody).await;
    assert!(
        outcomes.values().all(|o| matches!(o, Outcome::Done(_))),
        "{outcomes:?}"
    );
    assert_eq!(stage.state().tried.len(), 100);
    assert!(
        begun.elapsed() >= Duration::from_secs(3),
        "100 tries, 40 at once and 20 per second"
    );
    // One that never ends costs five tries.
    stage.refuse("p0000", vec![Refusal::stale(); 9]);
    let outcomes = hand
        .actuate(&[plan([write("p0000", 150, 160)])], NOW, nobody)
        .await;
    assert_eq!(word(&outcomes, "p0000"), "stale");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_once_the_lease_may_have_ended() {
    let stage = Stage::default();
    let plans = fleet(&stage, 30);
    let (hand, _candidate) = stage.hand().await; // it never renews
    let hand = hand.paced(Pace::new(1, 1), Duration::from_mins(5));
    let begun = Instant::now();
    let outcomes = hand.actuate(&plans, NOW, nobody).await;
    let last = stage.state().tried.last().unwrap().at;
    assert!(
        last - begun <= Duration::from_secs(10),
        "{:?}",
        last - begun
    );
    let stopped = outcomes
        .values()
        .filter(|o| matches!(o, Outcome::NotLeading));
    assert!(stopped.count() >= 19);
}

#[tokio::test(start_paused = true)]
async fn a_replacement_and_a_restarted_container_are_not_written_to() {
    let stage = Stage::default();
    stage.pod("replaced", 100, SOON).pod("restarted", 100, SOON);
    stage.edit("replaced", |pod| pod["metadata"]["uid"] = json!("another"));
    stage.edit("restarted", |pod| {
        pod["status"]["containerStatuses"][0]["state"] =
            json!({"running": {"startedAt": "2026-01-01T00:05:00Z"}});
    });
    let hand = stage.leading_hand().await;
    let seen = |_: &ContainerId| "2026-01-01T00:00:00Z".parse().ok();
    let writes = [
        write("replaced", 100, 200),
        write("restarted", 100, 200),
        write("missing", 100, 200),
    ];
    let outcomes = hand.actuate(&[plan(writes)], NOW, seen).await;
    assert_eq!(word(&outcomes, "replaced"), "refused");
    assert_eq!(word(&outcomes, "restarted"), "refused");
    assert_eq!(word(&outcomes, "missing"), "gone");
    assert!(stage.order().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_deferred_is_taken_back_in_the_next_cycle_and_not_asked_again_at_once() {
    let stage = Stage::default();
    stage.pod("web", 100, Kubelet::Says("PodResizePending", "Deferred"));
    let hand = stage.leading_hand().await;
    let plans = [plan([write("web", 100, 900)])];
    assert_eq!(
        word(&hand.actuate(&plans, NOW, nobody).await, "web"),
        "deferred"
    );
    assert_eq!(stage.spec("web"), 900);
    assert_eq!(
        word(&hand.actuate(&plans, NOW, nobody).await, "web"),
        "put_off"
    );
    assert_eq!(stage.spec("web"), 100, "the spec still asks for it");
    assert_eq!(
        word(&hand.actuate(&plans, NOW, nobody).await, "web"),
        "backed_off"
    );
    assert_eq!(
        stage.order(),
        [("web".to_owned(), 900), ("web".to_owned(), 100)]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_infeasible_is_remembered_whether_it_comes_as_an_answer_or_as_a_condition() {
    let stage = Stage::default();
    stage.pod("old", 100, Kubelet::Says("PodResizePending", "Infeasible"));
    stage.pod("new", 100, SOON);
    stage.refuse(
        "new",
        [Refusal::of(
            403,
            "node didn't have enough allocatable resources",
            &["NodeCapacity"],
        )],
    );
    let hand = stage.leading_hand().await;
    let plans = [plan([
        free(write("old", 100, 900)),
        free(write("new", 100, 900)),
    ])];
    let outcomes = hand.actuate(&plans, NOW, nobody).await;
    assert_eq!(
        [word(&outcomes, "old"), word(&outcomes, "new")],
        ["infeasible", "infeasible"]
    );
    hand.actuate(&plans, NOW, nobody).await;
    assert_eq!(stage.spec("old"), 100, "what will never come still counts");
    for _ in 0..5 {
        let outcomes = hand.actuate(&plans, NOW, nobody).await;
        assert_eq!(word(&outcomes, "old"), "known_infeasible");
        assert_eq!(word(&outcomes, "new"), "known_infeasible");
    }
    assert_eq!(
        stage.order().len(),
        3,
        "two tries and one undoing: {:?}",
        stage.order()
    );
    let less = [plan([free(write("new", 100, 500))])];
    assert_eq!(word(&hand.actuate(&less, NOW, nobody).await, "new"), "done");
}

#[tokio::test(start_paused = true)]
async fn what_another_leader_may_have_written_since_is_not_taken_back() {
    let stage = Stage::default();
    stage.pod("old", 100, Kubelet::Says("PodResizePending", "Infeasible"));
    let hand = stage.leading_hand().await;
    let plans = [plan([free(write("old", 100, 900))])];
    let outcomes = hand.actuate(&plans, NOW, nobody).await;
    assert_eq!(word(&outcomes, "old"), "infeasible");
    hand.forget();
    hand.actuate(&[], NOW, nobody).await;
    assert_eq!(stage.order().len(), 1, "{:?}", stage.order());
}

#[tokio::test(start_paused = true)]
async fn a_kubelets_error_passes_and_is_tried_again() {
    let stage = Stage::default();
    stage.pod("web", 100, Kubelet::Says("PodResizeInProgress", "Error"));
    let hand = stage.leading_hand().await;
    let outcomes = hand
        .actuate(&[plan([write("web", 100, 200)])], NOW, nobody)
        .await;
    assert_eq!(word(&outcomes, "web"), "unconfirmed");
    let outcomes = hand
        .actuate(&[plan([write("web", 200, 300)])], NOW, nobody)
        .await;
    assert_eq!(word(&outcomes, "web"), "unconfirmed");
    assert_eq!(stage.order().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_no_reason_to_ask_in_every_cycle() {
    let stage = Stage::default();
    stage.pod("web", 100, SOON);
    stage.refuse("web", vec![Refusal::of(403, "exceeded quota: q", &[]); 50]);
    let hand = stage.leading_hand().await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_hours(1) {
        hand.actuate(&[plan([write("web", 100, 200)])], NOW, nobody)
            .await;
        tokio::time::sleep(Duration::from_secs(15)).await;
    }
    let tries = stage.order().len();
    assert!((5..=12).contains(&tries), "{tries} tries in an hour");
}

/// A node: limits before and after, each set no more than the capacity, and how its kubelet takes it.
fn trace() -> impl Strategy<Value = Vec<(u64, u64, u8, bool)>> {
    proptest::collection::vec((1u64..60, 1u64..60, 0u8..12, any::<bool>()), 2..10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Σ of limits ≤ capacity at every instant of the trace, each limit counted with the larger of
    /// what the spec asks for and what the kubelet has done, whatever kubelets and API server do.
    #[test]
    fn limits_never_promise_more_than_there_is(pods in trace()) {
        let sum = |side: fn(&(u64, u64, u8, bool)) -> u64| pods.iter().map(side).sum::<u64>() * 10;
        let capacity = sum(|p| p.0).max(sum(|p| p.1));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let worst = runtime.block_on(async {
            let stage = Stage::default();
            let mut writes = Vec::new();
            for (index, (before, after, delay, refused)) in pods.iter().enumerate() {
                let name = format!("p{index}");
                stage.pod(&name, before * 10, Kubelet::After(Duration::from_secs(u64::from(*delay))));
                if *refused && *delay > 8 {
                    stage.refuse(&name, [Refusal::of(403, "no", &[])]);
                } else if *refused {
                    stage.refuse(&name, vec![Refusal::stale(); 2]);
                }
                if before != after {
                    writes.push(write(&name, before * 10, after * 10));
                }
            }
            let hand = stage.leading_hand().await;
            hand.actuate(&[plan(writes)], NOW, nobody).await;
            stage.state().worst
        });
        prop_assert!(worst <= capacity, "{worst} of {capacity}");
    }
}
