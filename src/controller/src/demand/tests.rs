use std::net::Ipv4Addr;

use mbcas_core::PodId;
use mbcas_core::demand::AGENT_PORT;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

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
    let mut asked = Vec::new();
    for cycle in 0..150 {
        // Nobody listens there.
        let readings = demands.read(&addresses(), CYCLE).await;
        assert!(readings.silent.contains(&id("a")));
        if readings.missing() > 0 {
            asked.push(cycle);
        }
        tokio::time::advance(CYCLE).await;
    }
    let pauses: Vec<_> = asked.windows(2).map(|two| two[1] - two[0]).collect();
    assert_eq!(pauses[..7], [1, 1, 1, 2, 4, 8, 16]);
    assert!(pauses[8..].iter().all(|pause| *pause == 40), "{pauses:?}");
    let readings = demands.take(&addresses(), answered(1), CYCLE);
    assert!(readings.silent.is_empty());
    assert!(demands.memory[&id("a")].ask_after <= Instant::now());
}

#[tokio::test(start_paused = true)]
async fn a_word_from_an_earlier_term_is_not_news() {
    let mut demands = Demands::default();
    demands.take(&addresses(), answered(9_500), CYCLE);
    // Somebody else led meanwhile.
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(
        points(&demands.take(&addresses(), failed(), CYCLE)),
        Demand::NEUTRAL.basis_points()
    );
}

/// Agents in numbers: 100 that answer, and 2,000 that come before them by name, take connections and say nothing.
#[tokio::test]
async fn the_silent_take_no_time_from_those_who_answer() {
    let silent = TcpListener::bind((Ipv4Addr::new(127, 94, 66, 1), AGENT_PORT)).await;
    let silent = silent.unwrap();
    let mute = (0..2_000).map(|n| (id(&format!("a{n}")), silent.local_addr().unwrap().ip()));
    let mut all: BTreeMap<_, _> = mute.map(|(id, ip)| (id, Some(ip))).collect();
    let mut honest = Vec::new();
    for n in 1..=100 {
        let address = Ipv4Addr::new(127, 94, 67, n);
        let listener = TcpListener::bind((address, AGENT_PORT)).await.unwrap();
        let pod = format!("z{n}");
        all.insert(id(&pod), Some(address.into()));
        honest.push(id(&pod));
        tokio::spawn(always(listener, pod));
    }
    let mut demands = Demands::default();
    let begun = Instant::now();
    let readings = demands.read(&all, CYCLE).await;
    let took = begun.elapsed();
    assert!(took < PHASE * 2, "{took:?}");
    // More than can be asked in a phase; the others were not asked, and it is not held against them.
    assert!(readings.failed["no_time"] >= 100, "{:?}", readings.failed);
    assert!(honest.iter().all(|id| demands.memory[id].failed == 0));
    // A busy machine may take half a second from some of them.
    let mut most = 0;
    for _ in 0..3 {
        let readings = demands.read(&all, CYCLE).await;
        let heard = |id: &&ContainerId| {
            readings.words[*id].demand.basis_points() == 7_500 && !readings.silent.contains(*id)
        };
        most = most.max(honest.iter().filter(heard).count());
    }
    assert_eq!(most, 100);
}

/// An agent of `pod` that answers everybody.
async fn always(listener: TcpListener, pod: String) {
    let body = format!(
        r#"{{"namespace":"shop","pod":"{pod}","container":"app","demand_intensity":0.75,"sequence":1,"age_ms":10}}"#
    );
    let length = body.len();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(answer.as_bytes()).await;
    }
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
        let word = Word::of(Demand::from_basis_points(last));
        let memory = Memory { missed, ..Memory::of(word, Instant::now()) };
        let faded = memory.faded().demand.basis_points();
        let neutral = Demand::NEUTRAL.basis_points();
        prop_assert!((last.min(neutral)..=last.max(neutral)).contains(&faded));
    }
}
