use std::time::Duration;

use super::*;

fn pod(number: usize) -> (PodId, LetGo) {
    let pod = PodId {
        namespace: "shop".into(),
        name: format!("web-{number}"),
        uid: format!("{number:04}"),
    };
    (pod, LetGo::OptedOut)
}

fn gone(number: usize, outcome: GivenBack) -> Leaver {
    let (pod, by) = pod(number);
    Leaver {
        pod,
        by,
        outcome,
        words: String::new(),
    }
}

#[test]
fn who_comes_back_before_its_turn_was_never_gone() {
    let (mut leaving, now) = (Leaving::default(), Instant::now());
    assert_eq!(leaving.due(vec![pod(1)], 1_000, now), []);
    assert_eq!(leaving.due(vec![], 1_000, now), []);
    assert_eq!(leaving.due(vec![pod(1)], 1_000, now), []);
    assert_eq!(leaving.due(vec![pod(1)], 1_000, now), [pod(1)]);
}

#[test]
fn a_crowd_has_its_turn_by_parts_and_all_of_it() {
    let (mut leaving, now) = (Leaving::default(), Instant::now());
    let crowd = || (0..250).map(pod).collect::<Vec<_>>();
    let mut served = Vec::new();
    for _ in 0..6 {
        let due = leaving.due(crowd(), 1_000, now);
        for (pod, _) in &due {
            let number: usize = pod.uid.parse().unwrap();
            leaving.learn(&gone(number, GivenBack::Done), now);
        }
        served.push(due.len());
    }
    assert_eq!(served, [0, 60, 60, 60, 60, 10]);
    assert_eq!(leaving.due(crowd(), 1_000, now), []);
    let (mut leaving, few) = (Leaving::default(), 7);
    leaving.due(crowd(), few, now);
    assert_eq!(leaving.due(crowd(), few, now).len(), few);
}

#[test]
fn failures_are_tried_again_after_longer_and_longer() {
    let (mut leaving, mut now) = (Leaving::default(), Instant::now());
    leaving.due(vec![pod(1)], 1_000, now);
    let mut waits = Vec::new();
    for _ in 0..8 {
        leaving.learn(&gone(1, GivenBack::Failed), now);
        let begun = now;
        while leaving.due(vec![pod(1)], 1_000, now).is_empty() {
            now += Duration::from_secs(1);
        }
        waits.push((now - begun).as_secs());
    }
    assert_eq!(waits, [15, 30, 60, 120, 240, 480, 600, 600]);
    leaving.learn(&gone(1, GivenBack::NotReached), now);
    assert_eq!(leaving.due(vec![pod(1)], 1_000, now), [pod(1)]);
}
