use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::Config;

fn board() -> Board {
    Board::new(Config::from_args(["agent"])).unwrap()
}

async fn ask(source: &AppMetrics) -> Result<Answer, AppError> {
    Questions::new(source, &board()).ask().await.0
}

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
    let outcome = ask(&source(port, metrics)).await;
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
async fn what_is_worked_on_does_not_wait() {
    let text = "busy{pool=\"a\"} 7\nbusy{pool=\"b\"} 4\n";
    for (body, metrics, waiting) in [
        (text, "in_flight=busy&workers=8", 3),
        (text, "in_flight=busy&workers=11", 0),
        (text, "in_flight=busy&workers=65535", 0),
        (r#"{"busy":10}"#, "in_flight=/busy&workers=8", 2),
        (r#"{"busy":0}"#, "in_flight=/busy&workers=8", 0),
    ] {
        let said = asked(metrics, page(body), 1, false).await.unwrap();
        assert_eq!(said.queue.unwrap().unwrap(), waiting, "{metrics}");
    }
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
        matches!(ask(&source(free, "app_queue")).await, Err(AppError::Connect { port, .. }) if port == free)
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
        ask(&source(port, "app_queue")).await,
        Err(AppError::TooLarge(BODY_MAX))
    ));
    // What lies in socket buffers comes on top of what was read.
    assert!(server.await.unwrap() < 32 * BODY_MAX);
}

#[tokio::test]
async fn json_has_a_lower_end() {
    let body = format!("{{\"q\":1,\"rest\":\"{}\"}}", "x".repeat(JSON_MAX));
    let outcome = asked("/q", page(&body), 1, false).await;
    assert!(
        matches!(outcome, Err(AppError::TooLarge(JSON_MAX))),
        "{outcome:?}"
    );
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

#[tokio::test]
async fn the_last_question_is_left_open_until_it_is_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (board, source) = (board(), source(port, "app_queue"));
    let mut questions = Questions::new(&source, &board);
    for _ in 0..20 {
        let (outcome, _) = questions.ask().await;
        assert!(matches!(outcome, Err(AppError::Late)), "{outcome:?}");
        let waiting = AcceptQueue::new().waiting(|p| p == port).unwrap();
        assert_eq!((waiting, board.questions()), (Some(1), 1));
    }
    // Accepted, and forgotten.
    let (_lost, _) = listener.accept().await.unwrap();
    let answers = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream.write_all(&page("app_queue 3\n")).await.unwrap();
        stream
    };
    let ((outcome, _), _stream) = tokio::join!(questions.ask(), answers);
    assert_eq!(outcome.unwrap().queue.unwrap().unwrap(), 3);
    assert_eq!(board.questions(), 0);
}

#[tokio::test]
async fn a_question_that_was_accepted_or_refused_is_not_open() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (board, source) = (board(), source(port, "app_queue"));
    let mut questions = Questions::new(&source, &board);
    let ((outcome, _), _accepted) = tokio::join!(questions.ask(), listener.accept());
    assert!(matches!(outcome, Err(AppError::Late)), "{outcome:?}");
    assert_eq!(board.questions(), 0);
    drop(listener);
    let (outcome, _) = questions.ask().await;
    assert!(
        matches!(outcome, Err(AppError::Connect { .. })),
        "{outcome:?}"
    );
    assert_eq!(board.questions(), 0);
}

/// Writes `part` again and again, with a pause between, until nobody reads it any more.
async fn drips(listener: TcpListener, head: &[u8], part: &[u8], pause: Duration) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = [0; 1024];
    assert!(stream.read(&mut request).await.unwrap() > 0);
    stream.write_all(head).await.unwrap();
    while stream.write_all(part).await.is_ok() {
        tokio::time::sleep(pause).await;
    }
}

#[tokio::test]
async fn an_answer_that_drips_or_has_no_end_of_its_head_is_late() {
    let body = b"HTTP/1.0 200 OK\r\n\r\n";
    for (head, part) in [(&body[..], &b"o"[..]), (b"HTTP/1.0 200 OK\r\nX: ", b"x")] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source = source(listener.local_addr().unwrap().port(), "app_queue");
        let dripping = drips(listener, head, part, Duration::from_millis(5));
        let begin = std::time::Instant::now();
        let (outcome, ()) = tokio::join!(ask(&source), dripping);
        assert!(matches!(outcome, Err(AppError::Late)), "{outcome:?}");
        assert!(begin.elapsed() >= DEADLINE);
    }
}

#[tokio::test]
async fn a_huge_head_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let source = source(listener.local_addr().unwrap().port(), "app_queue");
    let line = [b"X: ", &[b'x'; 1000][..], b"\r\n"].concat();
    let endless = drips(listener, b"HTTP/1.1 200 OK\r\n", &line, Duration::ZERO);
    let (outcome, ()) = tokio::join!(ask(&source), endless);
    assert!(matches!(outcome, Err(AppError::Http(_))), "{outcome:?}");
}

#[tokio::test]
async fn an_answer_that_is_cut_is_refused() {
    for cut in [
        &b""[..],
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\napp_queue 3",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\napp_queue 3\n\r\n",
    ] {
        let outcome = answered(cut.to_vec(), 1, false).await;
        let text = String::from_utf8_lossy(cut);
        assert!(
            matches!(outcome, Err(AppError::Http(_))),
            "{text}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_continued_for_ever_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let source = source(listener.local_addr().unwrap().port(), "app_queue");
    let part = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(300);
    let server = tokio::task::spawn_blocking(move || {
        let listener = listener.into_std().unwrap();
        listener.set_nonblocking(false).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        // Who answers before the question is refused at once.
        assert!(std::io::Read::read(&mut stream, &mut [0; 1024]).unwrap() > 0);
        while std::io::Write::write_all(&mut stream, &part).is_ok() {}
    });
    let board = board();
    let mut questions = Questions::new(&source, &board);
    let (outcome, cost) = questions.ask().await;
    assert!(
        matches!(outcome, Err(AppError::Dear | AppError::Late)),
        "{outcome:?}"
    );
    assert!(cost < 4 * CPU_MOST, "{cost:?}");
    server.await.unwrap();
}

#[tokio::test]
async fn why_localhost_cannot_be_reached_is_said_of_ipv4() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let outcome = connect([
        (Ipv4Addr::LOCALHOST, port).into(),
        "[100::1]:1".parse().unwrap(),
    ])
    .await;
    assert_eq!(
        outcome.unwrap_err().kind(),
        io::ErrorKind::ConnectionRefused
    );
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
