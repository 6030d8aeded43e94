use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

struct Server {
    address: std::net::SocketAddr,
    token: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn start(limits: Limits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let token = CancellationToken::new();
    let router = Router::new().route("/", get(|| async { "well" }));
    let task = tokio::spawn(serve(listener, router, limits, token.clone()));
    Server {
        address,
        token,
        task,
    }
}

async fn ask(address: std::net::SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn answers_and_ends_when_told() {
    let server = start(Limits::default()).await;
    let answer = ask(server.address).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("well"),
        "{answer}"
    );
    server.token.cancel();
    server.task.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_client_that_sends_no_head_is_let_go() {
    let head = Duration::from_millis(20);
    let server = start(Limits {
        head,
        ..Limits::default()
    })
    .await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET / HT").await.unwrap();
    let mut rest = Vec::new();
    let closed = slow.read_to_end(&mut rest).await;
    assert!(closed.is_err() || !rest.ends_with(b"well"));
}

#[tokio::test]
async fn clients_that_only_hold_places_keep_nobody_out() {
    let long = Duration::from_hours(1);
    let server = start(Limits {
        connections: 4,
        head: long,
        lifetime: long,
    })
    .await;
    let mut holders = Vec::new();
    for _ in 0..20 {
        let mut holder = TcpStream::connect(server.address).await.unwrap();
        holder.write_all(b"GET / HT").await.unwrap();
        holders.push(holder);
    }
    assert!(ask(server.address).await.contains("200"));
    let mut rest = Vec::new();
    let _ = holders.remove(0).read_to_end(&mut rest).await;
    assert!(!rest.ends_with(b"well"));
}

#[tokio::test]
async fn a_connection_that_idles_ends_with_its_lifetime() {
    let lifetime = Duration::from_millis(20);
    let server = start(Limits {
        connections: 1,
        lifetime,
        ..Limits::default()
    })
    .await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let mut rest = Vec::new();
    let _ = idle.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    assert!(ask(server.address).await.contains("200"));
}

#[tokio::test]
async fn an_endless_head_is_refused() {
    let server = start(Limits::default()).await;
    let mut greedy = TcpStream::connect(server.address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(64 * 1024));
    let _ = greedy.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = greedy.read_to_end(&mut answer).await;
    assert!(!answer.ends_with(b"well"));
}

#[tokio::test]
async fn an_idle_connection_does_not_delay_the_end() {
    let server = start(Limits::default()).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    server.token.cancel();
    timeout(Duration::from_secs(2), server.task)
        .await
        .unwrap()
        .unwrap();
}
