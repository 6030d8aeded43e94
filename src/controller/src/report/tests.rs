use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread::JoinHandle;

use mbcas_core::PodId;

use super::*;

fn app() -> ContainerId {
    let pod = PodId {
        namespace: "shop".into(),
        name: "web-1".into(),
        uid: "u1".into(),
    };
    ContainerId::new(pod, "app")
}

const REPORT: &str = r#"{"namespace":"shop","pod":"web-1","container":"app","demand_intensity":0.75,"sequence":1,"age_ms":10}"#;

/// An agent that answers one connection with `answer` and then does what `after` does.
fn agent(answer: Vec<u8>, after: fn(&mut std::net::TcpStream)) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(&answer);
        after(&mut stream);
    });
    (address, thread)
}

fn http(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn ask(answer: Vec<u8>, after: fn(&mut std::net::TcpStream)) -> Result<Word, PullError> {
    let (address, thread) = agent(answer, after);
    let word = pull_from(address, &app(), LongPoll::default()).await;
    thread.join().unwrap();
    word
}

#[tokio::test]
async fn a_report_is_read() {
    let word = ask(http(REPORT), |_| {}).await.unwrap();
    let demand = Demand::from_basis_points(7_500);
    assert_eq!(word, Word::of(demand));
    let measured = REPORT.replace("0.75,", r#"0.75,"need_millicores":430,"#);
    let word = ask(http(&measured), |_| {}).await.unwrap();
    assert_eq!(
        (word.demand, word.measured),
        (demand, Some(MilliCpu::new(430)))
    );
}

#[tokio::test]
async fn an_agent_that_knows_nothing_is_heard_and_changes_nothing() {
    let unknown = REPORT.replace("0.75", "null");
    let word = ask(http(&unknown), |_| {}).await.unwrap();
    assert_eq!(word, Word::NEUTRAL);
}

#[tokio::test]
async fn garbage_is_refused_by_reason() {
    let about_another = REPORT.replace("web-1", "web-2");
    let out_of_range = REPORT.replace("0.75", "7.5");
    let cases: [(Vec<u8>, &str); 7] = [
        (b"\x00\xff nonsense".to_vec(), "http"),
        (b"HTTP/1.1 200 OK\r\n\r\n{".to_vec(), "report"),
        (http(&about_another), "report"),
        (http(&out_of_range), "report"),
        (
            b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "status",
        ),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
                .to_vec(),
            "status",
        ),
        (http(&" ".repeat(MAX_REPORT_BYTES + 1)), "body"),
    ];
    for (answer, reason) in cases {
        let shown = String::from_utf8_lossy(&answer)
            .chars()
            .take(40)
            .collect::<String>();
        assert_eq!(
            ask(answer, |_| {}).await.unwrap_err().reason(),
            reason,
            "{shown}"
        );
    }
}

#[tokio::test]
async fn a_gigabyte_is_not_read() {
    let flood = |stream: &mut std::net::TcpStream| {
        let block = vec![b' '; 1 << 20];
        let mut sent = 0;
        // The reader hangs up long before the end.
        while sent < 1 << 30 && stream.write_all(&block).is_ok() {
            sent += block.len();
        }
        assert!(sent < 64 << 20, "{sent} bytes were taken");
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1 << 30).into_bytes();
    assert_eq!(ask(head, flood).await.unwrap_err().reason(), "body");
}

#[tokio::test]
async fn an_agent_that_trickles_is_left_behind() {
    let trickle = |stream: &mut std::net::TcpStream| {
        // Ends when the reader hangs up at its deadline.
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)));
    };
    let started = std::time::Instant::now();
    let answer = ask(
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec(),
        trickle,
    )
    .await;
    assert_eq!(answer.unwrap_err().reason(), "timeout");
    assert!(started.elapsed() < DEADLINE * 4);
}

#[tokio::test]
async fn nobody_there_is_a_failed_connection() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert_eq!(
        pull_from(address, &app(), LongPoll::default())
            .await
            .unwrap_err()
            .reason(),
        "connect"
    );
}
