use std::net::SocketAddr;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server that answers everything with `answer`, or, without one, nothing.
async fn server(answer: Option<&'static str>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut silent = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            match answer {
                None => silent.push(stream),
                Some(answer) => {
                    tokio::spawn(async move {
                        let mut head = [0; 1024];
                        let _ = stream.read(&mut head).await;
                        let _ = stream.write_all(answer.as_bytes()).await;
                    });
                }
            }
        }
    });
    address
}

fn args(targets: &[String]) -> Args {
    Args {
        targets: targets
            .iter()
            .map(|target| target.parse().unwrap())
            .collect(),
        seconds: 1,
        warmup: 0,
        timeout_ms: 2000,
        slo_ms: 1000,
        in_flight: 1024,
        seed: 7,
    }
}

/// How many requests of `rate` are due in `from..until` seconds with `args`' first target.
fn due(args: &Args, from: u64, until: u64) -> u64 {
    let begin = Instant::now();
    let window = begin + Duration::from_secs(from)..begin + Duration::from_secs(until);
    let seed = args.seed.wrapping_mul(1_000_003);
    arrivals(seed, args.targets[0].rate, begin)
        .take_while(|due| *due < window.end)
        .filter(|due| window.contains(due))
        .count() as u64
}

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const BAD: &str = "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn the_counts_add_up() {
    let (good, bad) = (server(Some(GOOD)).await, server(Some(BAD)).await);
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let args = args(&[
        format!("good=http://{good}/@100"),
        format!("bad=http://{bad}/work@50"),
        format!("absent=http://{free}/@50"),
    ]);
    let expected = due(&args, 0, 1);
    let reports = run(args, CancellationToken::new()).await.unwrap();
    let [good, bad, absent] = &reports[..] else {
        unreachable!("three targets, {reports:?}")
    };
    assert_eq!(
        (good.name.as_str(), good.sent, good.ok),
        ("good", expected, expected)
    );
    assert_eq!(
        (good.errors, good.timeouts, good.dropped, good.violations),
        (0, 0, 0, 0)
    );
    assert!(
        good.p50_ms <= good.p95_ms && good.p95_ms <= good.max_ms && good.max_ms < Some(1000.0),
        "{good:?}"
    );
    for broken in [bad, absent] {
        assert!(
            broken.sent > 0 && broken.sent == broken.errors && broken.violations == broken.sent,
            "{broken:?}"
        );
        assert!((broken.violation_share - 1.0).abs() < 1e-9);
    }
    assert!((good.seconds - 1.0).abs() < 0.001, "{good:?}");
}

#[tokio::test]
async fn silence_is_a_timeout_and_what_is_too_much_is_dropped() {
    let silent = server(None).await;
    let mut args = args(&[format!("silent=http://{silent}/@200")]);
    // The first five are under way until after the last one was due.
    (args.timeout_ms, args.in_flight) = (1500, 5);
    let expected = due(&args, 0, 1);
    let report = run(args, CancellationToken::new()).await.unwrap().remove(0);
    assert_eq!(
        (report.ok, report.timeouts, report.dropped),
        (0, 5, expected - 5)
    );
    assert!(report.p50_ms.unwrap() >= 1499.0, "{report:?}");
    assert_eq!(report.violations, expected);
}

#[tokio::test]
async fn the_warm_up_does_not_count() {
    let good = server(Some(GOOD)).await;
    let mut args = args(&[format!("good=http://{good}/@100")]);
    args.warmup = 1;
    let expected = due(&args, 1, 2);
    let report = run(args, CancellationToken::new()).await.unwrap().remove(0);
    assert_eq!(report.sent, expected);
    assert!((report.seconds - 1.0).abs() < 1e-9, "{report:?}");
}

#[tokio::test]
async fn told_to_stop_it_tells_what_it_has() {
    let good = server(Some(GOOD)).await;
    let mut args = args(&[format!("good=http://{good}/@200")]);
    args.seconds = 600;
    let token = CancellationToken::new();
    let run = tokio::spawn(run(args, token.clone()));
    // The first request answered is the sign that it runs.
    let probe = server(Some(GOOD)).await;
    let _ = client::ask(
        &format!("p=http://{probe}/@1").parse().unwrap(),
        Instant::now(),
        Duration::from_secs(5),
    )
    .await;
    token.cancel();
    let report = run.await.unwrap().unwrap().remove(0);
    assert!(
        report.seconds < 60.0 && report.sent == report.ok,
        "{report:?}"
    );
}

#[tokio::test]
async fn latency_counts_from_when_the_request_was_due() {
    let good = server(Some(GOOD)).await;
    let target = format!("p=http://{good}/@1").parse().unwrap();
    let due = Instant::now()
        .checked_sub(Duration::from_millis(700))
        .unwrap();
    let outcome = client::ask(&target, due, Duration::from_secs(5)).await;
    assert!(
        matches!(outcome, Outcome::Answered(latency) if latency >= Duration::from_millis(700)),
        "{outcome:?}"
    );
    let late = client::ask(&target, due, Duration::from_millis(600)).await;
    assert_eq!(late, Outcome::TimedOut);
}

#[tokio::test]
async fn an_answer_without_end_is_a_failure() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(256 * 1024));
    let address = server(Some(Box::leak(endless.into_boxed_str()))).await;
    let target = format!("p=http://{address}/@1").parse().unwrap();
    assert_eq!(
        client::ask(&target, Instant::now(), Duration::from_secs(5)).await,
        Outcome::Failed
    );
}

#[tokio::test]
async fn bounds_hold_for_all_targets_together() {
    let refused = async |args: Args| {
        run(args, CancellationToken::new())
            .await
            .unwrap_err()
            .to_string()
    };
    let fast = [
        "a=http://127.0.0.1:1/@1500".to_owned(),
        "b=http://127.0.0.1:1/@501".to_owned(),
    ];
    assert!(refused(args(&fast)).await.contains("2001"));
    let same = [
        "a=http://127.0.0.1:1/@1".to_owned(),
        "a=http://127.0.0.1:2/@1".to_owned(),
    ];
    let message = refused(args(&same)).await;
    assert!(message.contains("two targets are called a;"), "{message}");
    let mut long = args(&same[..1]);
    (long.warmup, long.seconds) = (1, MOST_SECONDS);
    assert!(refused(long).await.contains("3601"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn arrivals_are_ordered_repeatable_and_as_many_as_asked_for(seed: u64, rate in 20u32..200) {
        let (begin, seconds) = (Instant::now(), 20_u32);
        let until = begin + Duration::from_secs(seconds.into());
        let all = || arrivals(seed, rate.into(), begin).take_while(|due| *due < until);
        prop_assert!(all().is_sorted());
        prop_assert!(all().eq(all()));
        // Six standard deviations of a Poisson count.
        let expected = f64::from(rate) * f64::from(seconds);
        let count = f64::from(u32::try_from(all().count()).unwrap());
        prop_assert!((count - expected).abs() < 6.0 * expected.sqrt(), "{count} of {expected}");
    }
}
