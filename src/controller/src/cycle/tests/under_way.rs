//! What goes on while a cycle waits for others.

use super::record::recorded;
use super::*;

/// Every decision that was recorded: what made it, and of which node.
fn decided(market: &Loop) -> Vec<(&'static str, String)> {
    let recorded = recorded(market).into_iter();
    recorded
        .map(|one| (one.turn.word(), one.snapshot.node.clone()))
        .collect()
}

fn turns(words: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let owned = words.iter().map(|(turn, node)| (*turn, (*node).to_owned()));
    owned.collect()
}

/// How many jumps were decided about.
fn served(market: &Loop) -> u64 {
    market.metrics.jump_seconds.get_sample_count()
}

/// The next step that ends.
async fn step(market: &mut Loop) -> Step {
    let steps = &mut market.under_way.steps;
    steps.join_next().await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_jump_waits_for_nobody_who_is_asked_by_a_cycle() {
    let (api, view, near) = two_nodes();
    let (mut market, _candidate) = market(&api, view, true).await;
    let (epoch, mode) = (0, Mode::Auto);
    let term = Term { epoch, mode };
    market.cycle(Mode::Observe, epoch).await;
    market.begin(term);
    market.early(vec![jump(&near)], term).await;
    assert_eq!(served(&market), 1);
    assert!(!market.is_idle(), "nobody has answered yet");
    market.settle(term).await;
    assert!(market.is_idle());
    let all = [
        ("cycle", "n1"),
        ("cycle", "n2"),
        ("early", "n1"),
        ("cycle", "n1"),
        ("cycle", "n2"),
    ];
    assert_eq!(decided(&market), turns(&all));
    assert_eq!(market.metrics.cycle_seconds.get_sample_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn nobody_decides_about_a_node_whose_writes_are_on_their_way() {
    let (api, view, near) = two_nodes();
    let far = named(&view, "far");
    let (mut market, _candidate) = market(&api, view, true).await;
    let (epoch, mode) = (0, Mode::Auto);
    let term = Term { epoch, mode };
    market.cycle(Mode::Observe, epoch).await;
    for (who, count) in [(&near, 1), (&near, 1), (&far, 2)] {
        market.early(vec![jump(who)], term).await;
        assert_eq!(served(&market), count);
    }
    market.settle(term).await;
    assert_eq!(served(&market), 3);
    let early: Vec<_> = decided(&market).split_off(2);
    let of = |node: &str| early.iter().filter(|(_, of)| of == node).count();
    assert_eq!((of("n1"), of("n2"), early.len()), (2, 1, 3));
    for decision in recorded(&market) {
        assert_eq!(decision.replay(), Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_cycle_that_writes_nothing_to_a_node_says_nothing_of_a_jumps_writes_there() {
    let (api, view, near) = two_nodes();
    let (mut market, _candidate) = market(&api, view, true).await;
    let term = |mode| Term { epoch: 0, mode };
    let (quiet, loud) = (term(Mode::Observe), term(Mode::Auto));
    market.cycle(Mode::Observe, 0).await;
    market.begin(quiet);
    let heard = step(&mut market).await;
    market.go_on(heard, Some(quiet)).await;
    market.early(vec![jump(&near)], loud).await;
    let acted = step(&mut market).await;
    let of = |step: &Step| match step {
        Step::Acted(act, _) => Some(act.occasion.turn),
        _ => None,
    };
    assert_eq!(of(&acted), Some(Turn::Cycle));
    market.go_on(acted, Some(loud)).await;
    market.early(vec![jump(&near)], loud).await;
    assert_eq!(
        served(&market),
        1,
        "the first one's writes are on their way"
    );
    market.settle(loud).await;
    assert_eq!(served(&market), 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_cycle_of_a_term_that_has_ended_did_does_not_end_the_next() {
    let (api, view, _) = two_nodes();
    let (mut market, _candidate) = market(&api, view, true).await;
    let (epoch, mode) = (0, Mode::Observe);
    let term = Term { epoch, mode };
    market.begin(term);
    let heard = step(&mut market).await;
    market.go_on(heard, Some(term)).await;
    let old = step(&mut market).await;
    market.stand_by();
    tokio::time::advance(Duration::from_secs(1)).await;
    market.begin(term);
    let heard = step(&mut market).await;
    market.go_on(heard, Some(term)).await;
    let new = step(&mut market).await;
    market.go_on(old, Some(term)).await;
    assert!(
        market.under_way.steps.is_empty(),
        "it has no notes to write"
    );
    market.go_on(new, Some(term)).await;
    market.settle(term).await;
    assert!(market.is_idle());
    assert_eq!(market.metrics.cycle_seconds.get_sample_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_for_in_a_term_that_has_ended_decides_nothing() {
    let (api, view, _) = two_nodes();
    let (mut market, _candidate) = market(&api, view, true).await;
    let (epoch, mode) = (0, Mode::Auto);
    let term = Term { epoch, mode };
    market.begin(term);
    market.stand_by();
    assert!(market.is_idle());
    // What was asked for then is answered into the next term's cycle.
    tokio::time::advance(Duration::from_secs(1)).await;
    market.begin(term);
    market.settle(term).await;
    assert!(market.is_idle());
    assert_eq!(
        decided(&market),
        turns(&[("cycle", "n1"), ("cycle", "n2")]),
        "once, by what this cycle has heard"
    );
    assert_eq!(market.metrics.cycle_seconds.get_sample_count(), 1);
}
