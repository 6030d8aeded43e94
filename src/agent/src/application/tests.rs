use mbcas_core::demand::queue_pressure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::Config;

fn board() -> Board {
    Board::new(Config::from_args(["agent", "--app-slo", "1s"])).unwrap()
}

/// A queue's part, and what it makes of answers so many seconds after it began.
fn queue() -> impl FnMut(u64, Option<u64>) -> Option<f64> {
    let mut queue = Queue::new(Watch::new(Source::AppQueue, &board()));
    let begin = Instant::now();
    move |second, said| {
        let now = begin + Duration::from_secs(second);
        queue.take(Some(said.ok_or(AppError::Late)), now)
    }
}

#[test]
fn a_question_in_vain_does_not_forget_the_looks_before() {
    let mut queue = queue();
    assert_eq!(queue(0, Some(1)), Some(queue_pressure(1)));
    // Each second one fails, and a queue that jumps about is still no jump.
    for second in 1..40 {
        let said = (second % 2 == 0).then_some(second % 4 * 20);
        assert!(queue(second, said) <= Some(queue_pressure(1)), "{second}");
    }
    assert_eq!(queue(40, Some(9)), Some(queue_pressure(0)));
    assert_eq!(queue(41, None), Some(queue_pressure(0)));
    assert_eq!(queue(42, None), Some(queue_pressure(0)));
    assert_eq!([queue(43, None), queue(44, None)], [None; 2]);
    assert_eq!(queue(45, Some(9)), Some(queue_pressure(9)));
    assert_eq!(queue(45 + STALE.as_secs(), None), None);
}

fn took() -> impl FnMut(u64, Option<Latency>) -> Option<f64> {
    let board = board();
    let mut took = Took::new(board.config.slo, Watch::new(Source::AppLatency, &board));
    let begin = Instant::now();
    move |second, said| {
        let now = begin + Duration::from_secs(second);
        took.take(Some(said.ok_or(AppError::Late)), now)
    }
}

#[test]
fn a_latency_is_averaged_in_time_and_not_in_questions() {
    let mut took = took();
    let seconds = |seconds| Some(Latency::Seconds(seconds));
    let about = |pressure: Option<f64>, expected: f64| {
        let pressure = pressure.unwrap();
        assert!((pressure - expected).abs() < 1e-9, "{pressure}");
    };
    about(took(0, seconds(2.0)), 1.0);
    about(took(5, seconds(0.1)), 0.5);
    about(took(15, seconds(0.1)), 0.125);
    about(took(16, None), 0.125);
    about(took(20, seconds(0.1)), 0.0625);
    // What comes after a silence is not of a piece with it.
    for second in 21..23 {
        assert!(took(second, None).is_some());
    }
    assert_eq!(took(23, None), None);
    about(took(24, seconds(2.0)), 1.0);
}

#[test]
fn a_histogram_goes_on_after_a_question_in_vain() {
    let mut took = took();
    let count = |count: f64| {
        Some(Latency::Histogram(vec![
            (2.0, count),
            (f64::INFINITY, count),
        ]))
    };
    assert_eq!(took(0, count(0.0)), None);
    assert_eq!(took(1, count(100.0)), Some(1.0));
    assert_eq!(took(2, None), Some(1.0));
    assert_eq!(took(3, count(300.0)), Some(1.0));
}

#[test]
fn what_is_dear_or_in_vain_is_asked_more_seldom() {
    let board = board();
    let source = "http://localhost:1/#jobs".parse().unwrap();
    let mut application = Application::new(&source, &board);
    let mut pause = |vain, cost| {
        application.vain = vain;
        application.cost = Duration::from_micros(cost);
        application.pause().as_millis()
    };
    let pauses = [0, 1, 2, 3, 4, 5, 40].map(|vain| pause(vain, 200));
    assert_eq!(pauses, [1_000, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
    assert_eq!([pause(0, 6_000), pause(2, 50_000)], [6_000, 30_000]);
}

#[tokio::test]
async fn a_pause_is_longer_with_every_question_in_vain_and_one_of_use_ends_that() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let source = format!("http://localhost:{port}/#/jobs").parse().unwrap();
    let board = board();
    let mut application = Application::new(&source, &board);
    for vain in 1..4 {
        assert_eq!(application.pressures().await, Pressures::default());
        assert_eq!(application.vain, vain);
    }
    let server = tokio::spawn(async move {
        let _lost = listener.accept().await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"jobs\":4}";
        stream.write_all(answer).await.unwrap();
        stream
    });
    tokio::task::yield_now().await;
    let said = application.pressures().await;
    assert_eq!(said.of(Source::AppQueue), Some(0.5));
    assert_eq!(application.vain, 0);
    drop(server.await.unwrap());
}
