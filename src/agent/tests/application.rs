//! The binary beside an application that tells how it fares, well and badly.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy excuses test functions only, and these have helpers

mod agent;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use agent::{Agent, SUBJECT, start};
use rustix::process::Signal;

/// An agent that asks `app` for `metrics`, and its objective if it has one.
fn beside(app: &TcpListener, metrics: &str, slo: Option<&str>) -> Agent {
    let port = app.local_addr().unwrap().port();
    let source = format!("http://localhost:{port}/metrics#{metrics}");
    let mut environment = [&SUBJECT[..], &[("MBCAS_APP_METRICS", &source)]].concat();
    environment.extend(slo.map(|slo| ("MBCAS_APP_SLO", slo)));
    let mut agent = start(&environment);
    agent.says("serving /demand");
    agent
}

/// Takes the next question.
fn question(app: &TcpListener) -> TcpStream {
    let (mut stream, _) = app.accept().unwrap();
    assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
    stream
}

fn answer(mut stream: TcpStream, body: &str) {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
}

#[test]
fn an_application_that_tells_its_queue_is_believed() {
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let agent = beside(&app, "jobs", None);
    answer(
        question(&app),
        "jobs{shard=\"a\"} 10\njobs{shard=\"b\"} 2\n",
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let report = agent.report();
        // The answer is held while the next question, which nobody accepts, is not in vain for good.
        if report.breakdown.queue == Some(0.75) {
            break assert!(report.demand_intensity > Some(0.0), "{report:?}");
        }
        assert!(Instant::now() < deadline, "{report:?}");
    }
}

#[test]
fn what_an_application_has_in_flight_waits_but_for_what_it_works_on() {
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let agent = beside(&app, "in_flight=busy&workers=8", None);
    answer(question(&app), "busy 20\n");
    let second = question(&app);
    assert_eq!(agent.pressure("app_queue"), Some(0.75));
    drop(second);
}

#[test]
fn a_latency_from_a_histogram_is_held_against_the_objective() {
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let agent = beside(&app, "queue=jobs&latency=took_seconds", Some("250ms"));
    let page = |fast: u32, all: u32| {
        format!(
            "# TYPE took_seconds histogram\ntook_seconds_bucket{{path=\"/\",le=\"0.1\"}} {fast}\n\
             took_seconds_bucket{{path=\"/\",le=\"0.3\"}} {all}\n\
             took_seconds_bucket{{path=\"/\",le=\"+Inf\"}} {all}\n\
             took_seconds_sum{{path=\"/\"}} 9\ntook_seconds_count{{path=\"/\"}} {all}\njobs 0\n"
        )
    };
    answer(question(&app), &page(1_000, 1_000));
    assert_eq!(agent.report().breakdown.latency, None);
    // 99 of 100 of the new ones are within 0.1 + 0.2 * 0.98 / 2 = 0.298 s, and of the next within 0.099 s.
    answer(question(&app), &page(1_000, 1_100));
    let expected = [(0.298 / 0.25 - 0.7) / 0.6, 0.0];
    let second = question(&app);
    let begin = Instant::now();
    let latency = agent.report().breakdown.latency.unwrap();
    assert!((latency - expected[0]).abs() < 1e-6, "{latency}");
    answer(second, &page(1_100, 1_200));
    let third = question(&app);
    let fallen = agent.report().breakdown.latency.unwrap();
    let most = begin.elapsed() + Duration::from_secs(2);
    let least = latency * (-most.as_secs_f64() / 5.0).exp2();
    assert!((least..latency).contains(&fallen), "{fallen}");
    drop(third);
}

#[test]
fn questions_that_nobody_accepts_make_no_pressure() {
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut agent = beside(&app, "jobs", None);
    agent.says("did not answer within");
    // Other tests' queues are this machine's too, so what counts is that none stands at last.
    let looks = (0..60).map(|_| {
        sleep(Duration::from_millis(200));
        agent.pressure("accept_queue").unwrap()
    });
    let least = looks.skip(30).fold(f64::INFINITY, f64::min);
    app.set_nonblocking(true).unwrap();
    let questions = app.incoming().take_while(Result::is_ok).count();
    assert_eq!(questions, 1);
    // A dozen questions would be 0.7.
    assert!(least < 0.5, "{least}");
}

/// The CPU time that an agent's first thread has had, which asks, and the most memory.
fn cost(agent: &Agent) -> (Duration, u64) {
    let schedstat = agent.proc("schedstat");
    let nanos = schedstat.split_whitespace().next().unwrap();
    let status = agent.proc("status");
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = most.unwrap().split_whitespace().next().unwrap();
    (
        Duration::from_nanos(nanos.parse().unwrap()),
        kilobytes.parse().unwrap(),
    )
}

/// Answers every question with `head`, and with `part` as long as it is read.
fn endless(app: TcpListener, head: &'static str, part: &'static str) {
    std::thread::spawn(move || {
        loop {
            let mut stream = question(&app);
            let _ = stream.write_all(head.as_bytes());
            let many = part.repeat(1 + 60_000 / part.len());
            while stream.write_all(many.as_bytes()).is_ok() {}
        }
    });
}

#[test]
fn an_answer_that_is_continued_for_ever_costs_little() {
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let agent = beside(&app, "jobs", None);
    endless(app, "", "HTTP/1.1 100 Continue\r\n\r\n");
    sleep(Duration::from_secs(2));
    let (before, _) = cost(&agent);
    sleep(Duration::from_secs(8));
    let took = cost(&agent).0.saturating_sub(before);
    println!("{took:?} in 8 s");
    assert!(took < Duration::from_millis(200), "{took:?}");
}

#[test]
fn an_answer_of_a_gibibyte_is_not_kept() {
    for metrics in ["jobs", "/jobs"] {
        let app = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut agent = beside(&app, metrics, None);
        answer(question(&app), "jobs 1\n");
        let (_, before) = cost(&agent);
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n[";
        endless(app, head, "1,");
        agent.says("more than");
        let (_, after) = cost(&agent);
        println!("{metrics}: {before} kB, then {after} kB");
        assert!(
            after < before + 800,
            "{metrics}: {before} kB, then {after} kB"
        );
    }
}

/// What an application may do wrong, and what is said of it.
const WRONGS: [(&str, &str); 9] = [
    (
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        "302",
    ),
    ("HTTP/1.0 200 OK\r\n\r\njobs NaN\n", "finite number"),
    ("HTTP/1.0 200 OK\r\n\r\njobs -1\n", "finite number"),
    (
        "HTTP/1.0 200 OK\r\n\r\njobs 1e308\njobs{a=\"1\"} 1e308\n",
        "finite number",
    ),
    ("HTTP/1.0 200 OK\r\n\r\nwork 3\n", "no sample"),
    ("\0\u{1}garbage\r\n\r\n", "not HTTP"),
    ("", "not HTTP"),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\njobs 1",
        "not HTTP",
    ),
    ("HTTP/1.1 200", "not HTTP"),
];

#[test]
fn whatever_the_application_does_the_agent_answers_and_ends_well() {
    for (wrong, said) in WRONGS {
        let app = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut agent = beside(&app, "jobs", None);
        let mut stream = question(&app);
        stream.write_all(wrong.as_bytes()).unwrap();
        drop(stream);
        let log = agent.says(said);
        assert!(log.contains("app_queue"), "{log}");
        let begin = Instant::now();
        let report = agent.report();
        assert!(report.age_ms < 5_000, "{wrong}: {report:?}");
        assert!(begin.elapsed() < Duration::from_secs(5), "{wrong}");
        let (_, metrics) = agent.ask("/metrics");
        let failed = "mbcas_agent_sample_errors_total{source=\"app_queue\"} ";
        let failed = metrics.lines().find_map(|line| line.strip_prefix(failed));
        assert!(failed.unwrap().parse::<u32>().unwrap() >= 1, "{metrics}");
        assert_eq!(agent.pressure("app_queue"), None, "{wrong}");
        let (code, took) = agent.told(Signal::TERM);
        assert_eq!(code, Some(0));
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[test]
fn each_second_question_in_vain_neither_hides_the_answers_nor_fills_the_log() {
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let agent = beside(&app, "jobs", None);
    for turn in 0..11 {
        let stream = question(&app);
        if turn % 2 == 0 {
            answer(stream, "jobs 4\n");
        }
        let last = agent.pressure("app_queue");
        assert!(turn < 2 || last == Some(0.5), "{turn}: {last:?}");
    }
    let log = agent.rest();
    let lines = log
        .lines()
        .filter(|line| line.contains("app_queue"))
        .count();
    assert!((1..=4).contains(&lines), "{log}");
}
