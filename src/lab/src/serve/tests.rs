use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;

struct Server {
    address: SocketAddr,
    figures: Figures,
}

fn server(workers: u16, ms: u64) -> Server {
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let figures = Figures::new().unwrap();
    start(listener, workers, Duration::from_millis(ms), &figures).unwrap();
    Server { address, figures }
}

impl Server {
    fn waiting(&self) -> u64 {
        AcceptQueue::new()
            .waiting(|p| p == self.address.port())
            .unwrap()
            .unwrap()
    }

    fn count(&self, outcome: &str) -> u64 {
        self.figures.requests.with_label_values(&[outcome]).get()
    }
}

fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).unwrap()
}

fn ask(mut stream: &TcpStream, target: &str) {
    write!(stream, "GET {target} HTTP/1.1\r\nHost: lab\r\n\r\n").unwrap();
}

fn answer(mut stream: &TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Looks until `now` gives `expected`, or ten seconds are over.
fn settles<T: Copy + PartialEq + std::fmt::Debug>(expected: T, now: impl Fn() -> T) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while now() != expected && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(now(), expected);
}

#[test]
fn a_worker_accepts_only_when_it_is_free() {
    let server = server(2, 0);
    // Each worker waits for the head of the connection that it accepted; nobody else is accepted meanwhile.
    let clients: Vec<_> = (0..7).map(|_| connect(&server)).collect();
    settles((2, 5), || {
        (server.figures.in_flight.get(), server.waiting())
    });
    ask(&clients[0], "/work");
    assert!(answer(&clients[0]).starts_with("HTTP/1.1 200"));
    settles((2, 4), || {
        (server.figures.in_flight.get(), server.waiting())
    });
    for client in &clients[1..] {
        ask(client, "/work");
    }
    for client in &clients[1..] {
        assert!(answer(client).contains("Connection: close"));
    }
    settles((0, 0), || {
        (server.figures.in_flight.get(), server.waiting())
    });
    assert_eq!(server.count("ok"), 7);
}

#[test]
fn work_costs_what_it_says() {
    let server = server(1, 1);
    let before = crate::cpu::process_time();
    let client = connect(&server);
    ask(&client, "/work?ms=60");
    assert!(answer(&client).ends_with("done\n"));
    let spent = crate::cpu::process_time().saturating_sub(before);
    assert!(spent >= Duration::from_millis(60), "{spent:?}");
}

#[test]
fn no_work_is_done_for_a_client_that_has_left() {
    let server = server(1, 0);
    let first = connect(&server);
    settles(1, || server.figures.in_flight.get());
    let impatient = connect(&server);
    ask(&impatient, "/work?ms=1000");
    drop(impatient);
    ask(&first, "/work");
    answer(&first);
    settles((1, 1), || (server.count("ok"), server.count("abandoned")));
}

#[test]
fn nonsense_is_refused_and_costs_no_worker() {
    let server = server(1, 0);
    for (target, status) in [
        ("/work?ms=9999", "400"),
        ("/nothing", "404"),
        ("/work?ms=x", "400"),
    ] {
        let client = connect(&server);
        ask(&client, target);
        let answer = answer(&client);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
    let mut endless = connect(&server);
    let _ = endless.write_all(&vec![b'x'; 64 * 1024]);
    let client = connect(&server);
    ask(&client, "/work");
    assert!(answer(&client).starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn health_and_figures_do_not_wait_for_workers() {
    let server = server(1, 0);
    let _clients: Vec<_> = (0..4).map(|_| connect(&server)).collect();
    settles((1, 3), || {
        (server.figures.in_flight.get(), server.waiting())
    });
    for (path, expected) in [
        ("/healthz", "ok"),
        ("/metrics", "lab_in_flight 1"),
        ("/metrics", "lab_queue_depth 3"),
    ] {
        let request = axum::http::Request::get(path)
            .body(axum::body::Body::empty())
            .unwrap();
        let router = server.figures.router(server.address.port(), None);
        let answer = router.oneshot(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.lines().any(|line| line == expected), "{text}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let args = Args {
        address,
        port,
        health_port: 0,
        workers: 1,
        ms: 1,
        claim_queue: None,
    };
    let message = run(args, CancellationToken::new())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        message.contains(&port.to_string()) && message.contains("--port"),
        "{message}"
    );
}
