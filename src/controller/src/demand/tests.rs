use mbcas_core::PodId;
use proptest::prelude::*;

use super::*;

const CYCLE: Duration = Duration::from_secs(15);

fn id(name: &str) -> ContainerId {
    let pod = PodId {
        namespace: "shop".into(),
        name: name.into(),
        uid: name.into(),
    };
    ContainerId::new(pod, "app")
}

fn addresses() -> BTreeMap<ContainerId, Option<IpAddr>> {
    BTreeMap::from([(id("a"), Some(IpAddr::from([127, 0, 0, 1])))])
}

fn answered(demand: u64) -> BTreeMap<ContainerId, Result<Word, PullError>> {
    BTreeMap::from([(id("a"), Ok(Word::of(Demand::from_basis_points(demand))))])
}

fn failed() -> BTreeMap<ContainerId, Result<Word, PullError>> {
    BTreeMap::from([(id("a"), Err(PullError::Timeout))])
}

fn points(readings: &Readings) -> u64 {
    readings.words[&id("a")].demand.basis_points()
}

#[tokio::test(start_paused = true)]
async fn what_was_last_known_fades_to_neutral_over_three_cycles() {
    let mut demands = Demands::default();
    assert_eq!(
        points(&demands.take(&addresses(), answered(9_500), CYCLE)),
        9_500
    );
    let fading: Vec<_> = (0..5)
        .map(|_| points(&demands.take(&addresses(), failed(), CYCLE)))
        .collect();
    assert_eq!(fading, [8_000, 6_500, 5_000, 5_000, 5_000]);
    assert_eq!(points(&demands.take(&addresses(), answered(0), CYCLE)), 0);
}

#[tokio::test(start_paused = true)]
async fn a_container_without_an_agent_counts_as_neutral() {
    let mut demands = Demands::default();
    let readings = demands
        .read(&BTreeMap::from([(id("a"), None)]), CYCLE)
        .await;
    assert_eq!(points(&readings), Demand::NEUTRAL.basis_points());
    assert_eq!((readings.answered, readings.missing()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_never_answers_is_asked_less_and_less() {
    let mut demands = Demands::default();
    let mut pauses = Vec::new();
    for _ in 0..14 {
        demands.take(&addresses(), failed(), CYCLE);
        pauses.push((demands.memory[&id("a")].ask_after - Instant::now()).as_secs());
    }
    assert_eq!(pauses[..6], [0, 0, 0, 30, 60, 120]);
    assert_eq!(pauses.last(), Some(&600));
    demands.take(&addresses(), answered(1), CYCLE);
    assert!(demands.memory[&id("a")].ask_after <= Instant::now());
}

#[tokio::test(start_paused = true)]
async fn those_that_are_gone_are_forgotten() {
    let mut demands = Demands::default();
    demands.take(&addresses(), answered(1), CYCLE);
    demands.read(&BTreeMap::new(), CYCLE).await;
    assert!(demands.memory.is_empty());
}

proptest! {
    #[test]
    fn fading_stays_between_the_last_word_and_neutral(last in 0u64..=10_000, missed in 0u64..100) {
        let faded = faded(Word::of(Demand::from_basis_points(last)), missed).demand.basis_points();
        let neutral = Demand::NEUTRAL.basis_points();
        prop_assert!((last.min(neutral)..=last.max(neutral)).contains(&faded));
    }
}
