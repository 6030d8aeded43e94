use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers one connection with `answer`, `times` over, and leaves it open or not.
async fn answered(answer: Vec<u8>, times: usize, open: bool) -> Result<u64, AppError> {
    let said = asked("app_queue", answer, times, open).await?;
    assert!(said.latency.is_none());
    said.queue.unwrap()
}

async fn asked(
    metrics: &str,
    answer: Vec<u8>,
    times: usize,
    open: bool,
) -> Result<Answer, AppError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        let read = stream.read(&mut head).await.unwrap();
        for _ in 0..times {
            if stream.write_all(&answer).await.is_err() {
                break;
            }
        }
        if open {
            std::future::pending::<()>().await;
        }
        String::from_utf8_lossy(&head[..read]).into_owned()
    });
    let outcome = super::answer(&source(port, metrics)).await;
    if open {
        server.abort();
    } else {
        let head = server.await.unwrap();
        assert!(head.starts_with("GET /metrics HTTP/1.1\r\n"), "{head}");
    }
    outcome
}

fn source(port: u16, metrics: &str) -> AppMetrics {
    format!("http://localhost:{port}/metrics#{metrics}")
        .parse()
        .unwrap()
}

fn page(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test]
async fn reads_the_sum_rounded() {
    assert_eq!(
        answered(
            page("app_queue{a=\"1\"} 2\napp_queue{a=\"2\"} 4.6\n"),
            1,
            false
        )
        .await
        .unwrap(),
        7
    );
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\napp_\r\n9\r\nqueue 11\n\r\n0\r\n\r\n";
    assert_eq!(answered(chunked.to_vec(), 1, true).await.unwrap(), 11);
    let until_closed = b"HTTP/1.0 200 OK\r\n\r\napp_queue 3\n";
    assert_eq!(answered(until_closed.to_vec(), 1, false).await.unwrap(), 3);
}

const PAGE: &str = "jobs 3\ntook_bucket{le=\"0.1\"} 4\ntook_bucket{le=\"+Inf\"} 5\n";

#[tokio::test]
async fn one_answer_says_both() {
    let both = "queue=jobs&latency=took";
    let said = asked(both, page(PAGE), 1, false).await.unwrap();
    assert_eq!(said.queue.unwrap().unwrap(), 3);
    let buckets = Latency::Histogram(vec![(0.1, 4.0), (f64::INFINITY, 5.0)]);
    assert_eq!(said.latency.unwrap().unwrap(), buckets);

    let json = page(r#"{"jobs":{"waiting":[1,2.6]},"p99":0.25}"#);
    let both = "queue=/jobs/waiting/1&latency=/p99";
    let said = asked(both, json, 1, false).await.unwrap();
    assert_eq!(said.queue.unwrap().unwrap(), 3);
    assert_eq!(said.latency.unwrap().unwrap(), Latency::Seconds(0.25));

    let only = asked("latency=took", page(PAGE), 1, false).await.unwrap();
    assert!(only.queue.is_none() && only.latency.unwrap().is_ok());
}

#[tokio::test]
async fn what_is_wrong_with_one_part_is_not_the_other_s_fault() {
    let both = "queue=jobs&latency=took";
    let text = page(&PAGE.replace("jobs 3", "jobs NaN"));
    let said = asked(both, text, 1, false).await.unwrap();
    assert!(matches!(
        said.queue.unwrap(),
        Err(AppError::Exposition(ExpositionError::Value))
    ));
    assert!(said.latency.unwrap().is_ok());

    let json = page(r#"{"jobs":-1,"p99":0.25}"#);
    let both = "queue=/jobs&latency=/p99";
    let said = asked(both, json, 1, false).await.unwrap();
    assert!(matches!(
        said.queue.unwrap(),
        Err(AppError::Json(JsonError::Value))
    ));
    assert!(said.latency.unwrap().is_ok());
}

#[tokio::test]
async fn a_value_beyond_all_queues_saturates() {
    assert_eq!(
        answered(page("app_queue 1e300\n"), 1, false).await.unwrap(),
        u64::MAX
    );
}

#[tokio::test]
async fn nobody_there() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    assert!(
        matches!(super::answer(&source(free, "app_queue")).await, Err(AppError::Connect { port, .. }) if port == free)
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let answer =
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    assert!(matches!(
        answered(answer.to_vec(), 1, false).await,
        Err(AppError::Status(StatusCode::FOUND))
    ));
}

#[tokio::test]
async fn garbage_is_refused() {
    assert!(matches!(
        answered(b"SSH-2.0-OpenSSH_9\r\n\r\n".to_vec(), 1, false).await,
        Err(AppError::Http(_))
    ));
    assert!(matches!(
        answered(page("app_queue lots\n"), 1, false).await,
        Err(AppError::Exposition(ExpositionError::Malformed))
    ));
    assert!(matches!(
        answered(page("<html>"), 1, false).await,
        Err(AppError::Exposition(ExpositionError::Absent))
    ));
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\napp_queue 3\n";
    assert!(matches!(
        answered(cut.to_vec(), 1, false).await,
        Err(AppError::Http(_))
    ));
}

#[tokio::test]
async fn an_endless_answer_is_given_up_at_one_mebibyte() {
    let head = b"HTTP/1.0 200 OK\r\n\r\n".to_vec();
    let body = "other 1\n".repeat(1000).into_bytes();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream.write_all(&head).await.unwrap();
        let mut sent = 0_usize;
        while stream.write_all(&body).await.is_ok() {
            sent += body.len();
        }
        sent
    });
    assert!(matches!(
        super::answer(&source(port, "app_queue")).await,
        Err(AppError::TooLarge)
    ));
    // What lies in socket buffers comes on top of what was read.
    assert!(server.await.unwrap() < 32 * BODY_MAX);
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let begin = std::time::Instant::now();
    assert!(matches!(
        answered(Vec::new(), 0, true).await,
        Err(AppError::Late)
    ));
    assert!(begin.elapsed() >= DEADLINE);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_answer_makes_it_panic(head: bool, answer in prop::collection::vec(any::<u8>(), 0..600)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let status: &[u8] = if head { b"HTTP/1.0 200 OK\r\n\r\napp_queue" } else { b"" };
        let _ = runtime.block_on(answered([status, &answer].concat(), 1, false));
    }
}
