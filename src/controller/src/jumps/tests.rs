use std::net::Ipv4Addr;

use mbcas_core::PodId;
use mbcas_core::demand::AGENT_PORT;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;

fn id(pod: &str) -> ContainerId {
    let pod = PodId {
        namespace: "shop".into(),
        name: pod.into(),
        uid: pod.into(),
    };
    ContainerId::new(pod, "app")
}

/// An agent of `pod` at an address of its own, which hands every question to the test.
async fn agent(last: u8) -> (IpAddr, TcpListener) {
    let address = Ipv4Addr::new(127, 94, 65, last);
    let listener = TcpListener::bind((address, AGENT_PORT)).await.unwrap();
    (address.into(), listener)
}

/// The next question that it is asked.
async fn asked(listener: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = [0; 1024];
    let read = stream.read(&mut request).await.unwrap();
    let line = String::from_utf8_lossy(&request[..read]).into_owned();
    (stream, line.lines().next().unwrap().to_owned())
}

async fn answer(mut stream: TcpStream, pod: &str, demand: f64) {
    let body = format!(
        r#"{{"namespace":"shop","pod":"{pod}","container":"app","demand_intensity":{demand},"sequence":1,"age_ms":10}}"#
    );
    let length = body.len();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await.unwrap();
}

fn ear(agent: IpAddr) -> Ear {
    Ear {
        agent,
        above: Demand::from_basis_points(7_000),
    }
}

const SOON: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_jump_is_heard_once_and_who_does_not_wait_is_not_asked_again() {
    let (mut jumps, listener) = Jumps::new();
    tokio::spawn(listener.run());
    let (here, web) = agent(1).await;
    let (there, old) = agent(2).await;
    let ears = [(id("web"), ear(here)), (id("old"), ear(there))];
    jumps.listen_to(Ears::from(ears.clone()));

    let (waiting, line) = asked(&web).await;
    assert_eq!(line, "GET /demand?above=0.7&wait=25 HTTP/1.1");
    let (stream, _) = asked(&old).await;
    answer(stream, "old", 0.2).await;
    assert!(timeout(SOON, asked(&old)).await.is_err(), "asked again");
    assert!(timeout(SOON, jumps.next()).await.is_err(), "no jump yet");
    answer(waiting, "web", 0.9).await;
    let heard = jumps.next().await;
    let [jump] = heard.as_slice() else {
        panic!("{heard:?}")
    };
    assert_eq!(
        (&jump.id, jump.word.demand.basis_points()),
        (&id("web"), 9_000)
    );
    assert!(timeout(SOON, asked(&web)).await.is_err(), "heard once");

    // The next cycle listens anew, to some.
    jumps.listen_to(Ears::from([ears[0].clone()]));
    let (again, _) = asked(&web).await;
    jumps.listen_to(Ears::new());
    let mut again = again;
    let gone = timeout(SOON, again.read(&mut [0; 16])).await;
    assert_eq!(gone.unwrap().unwrap_or(0), 0, "and lets go of the others");
}

#[tokio::test(start_paused = true)]
async fn jumps_in_a_row_are_served_together() {
    let (mut jumps, listener) = Jumps::new();
    let say = |pod: &str| {
        let (id, word, at) = (id(pod), Word::of(Demand::FULL), Instant::now());
        listener.heard.try_send(Jump { id, word, at }).unwrap();
    };
    say("a");
    assert_eq!(jumps.next().await.len(), 1);
    jumps.rest();
    let begin = Instant::now();
    say("b");
    // What was begun and dropped has lost nothing.
    assert!(timeout(REST / 2, jumps.next()).await.is_err());
    say("c");
    assert_eq!(jumps.next().await.len(), 2);
    assert_eq!(begin.elapsed(), REST);
}

#[test]
fn where_not_all_can_be_listened_to_those_nearest_to_their_limits_are() {
    let all = [("a", 300), ("b", 10), ("c", 0), ("d", 40)].map(|(pod, left)| (id(pod), left));
    let near = |most| {
        let agent = ear(Ipv4Addr::LOCALHOST.into());
        let all = all
            .iter()
            .map(|(id, left)| (MilliCpu::new(*left), id, agent));
        let all = all.collect();
        let ears = nearest(all, most).into_keys();
        ears.map(|id| id.pod.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(near(4), ["a", "b", "c", "d"]);
    assert_eq!(near(2), ["b", "c"]);
}
