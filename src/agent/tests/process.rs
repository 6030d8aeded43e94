//! The binary itself: it serves, it survives bad settings, it ends at once and well when told to.

#![allow(clippy::unwrap_used)] // clippy excuses test functions only, and these have helpers

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use mbcas_core::DemandReport;
use rustix::process::{Pid, Signal, kill_process};

struct Agent {
    child: Child,
    log: BufReader<ChildStderr>,
    address: SocketAddr,
}

fn start(environment: &[(&str, &str)]) -> Agent {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_mbcas-demand-agent"))
        .env_clear()
        .env("MBCAS_AGENT_ADDR", address.to_string())
        .envs(environment.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    Agent {
        child,
        log,
        address,
    }
}

impl Agent {
    /// Reads the log up to the line that holds `text`.
    fn says(&mut self, text: &str) -> String {
        let mut all = String::new();
        loop {
            let begin = all.len();
            assert_ne!(
                self.log.read_line(&mut all).unwrap(),
                0,
                "no {text:?} in {all}"
            );
            if all[begin..].contains(text) {
                return all;
            }
        }
    }

    fn ask(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    /// Asks until a sample has been taken.
    fn report(&self) -> DemandReport {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let (status, body) = self.ask("/demand");
            if status.contains("200") {
                return DemandReport::parse(body.as_bytes(), "shop", "web-1", "app")
                    .unwrap()
                    .0;
            }
            assert!(Instant::now() < deadline, "{status} {body}");
        }
    }

    fn told(mut self, signal: Signal) -> (Option<i32>, Duration) {
        let begin = Instant::now();
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        (self.child.wait().unwrap().code(), begin.elapsed())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SUBJECT: [(&str, &str); 3] = [
    ("MBCAS_NAMESPACE", "shop"),
    ("MBCAS_POD", "web-1"),
    ("MBCAS_CONTAINER", "app"),
];

#[test]
fn serves_and_ends_at_once_when_told() {
    let mut agent = start(&SUBJECT);
    agent.says("serving /demand");
    let report = agent.report();
    assert!(report.sequence > 0 && report.age_ms < 5_000, "{report:?}");
    assert!(
        report.signals.accept_queue.is_some() && report.signals.app_queue.is_none(),
        "{report:?}"
    );
    let (status, metrics) = agent.ask("/metrics");
    assert!(
        status.contains("200") && metrics.contains("mbcas_demand_intensity{"),
        "{metrics}"
    );
    // A reader that neither sends nor goes away does not delay the end.
    let _idle = TcpStream::connect(agent.address).unwrap();
    let (code, took) = agent.told(Signal::TERM);
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn ends_well_on_an_interrupt_too() {
    let mut agent = start(&SUBJECT);
    agent.says("serving /demand");
    assert_eq!(agent.told(Signal::INT).0, Some(0));
}

#[test]
fn bad_settings_are_reported_and_survived() {
    let bad = [
        ("MBCAS_POD", "web-1"),
        ("MBCAS_APP_METRICS", "http://example.com/#x"),
        ("MBCAS_LOG_FORMAT", "xml"),
    ];
    let mut agent = start(&bad);
    let log = agent.says("serving /demand");
    for name in [
        "MBCAS_NAMESPACE",
        "MBCAS_CONTAINER",
        "MBCAS_APP_METRICS",
        "command_line",
    ] {
        assert!(log.contains(name), "{name} is not in {log}");
    }
    let (status, body) = agent.ask("/demand");
    assert!(
        status.contains("503") && body.contains("MBCAS_NAMESPACE is missing"),
        "{status} {body}"
    );
    let (status, metrics) = agent.ask("/metrics");
    assert!(
        status.contains("200") && !metrics.contains("mbcas_demand_intensity"),
        "{metrics}"
    );
    assert!(
        metrics.contains("mbcas_agent_config_faults{field=\"command_line\"} 1"),
        "{metrics}"
    );
    assert_eq!(agent.told(Signal::TERM).0, Some(0));
}

#[test]
fn a_bad_log_filter_leaves_the_default() {
    let mut agent = start(&[&SUBJECT[..], &[("MBCAS_LOG", "mbcas=loud")]].concat());
    let log = agent.says("serving /demand");
    assert!(
        log.contains("MBCAS_LOG") && log.contains("mbcas=loud"),
        "{log}"
    );
    agent.report();
}

#[test]
fn a_port_that_is_taken_is_reported_and_survived() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut agent = start(&[&SUBJECT[..], &[("MBCAS_AGENT_ADDR", &address)]].concat());
    let log = agent.says("cannot listen");
    assert!(log.contains(&address), "{log}");
    assert_eq!(agent.told(Signal::TERM).0, Some(0));
}

#[test]
fn an_application_that_tells_its_queue_is_believed() {
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = app.local_addr().unwrap().port();
    let source = format!("http://localhost:{port}/metrics#jobs");
    let mut agent = start(&[&SUBJECT[..], &[("MBCAS_APP_METRICS", &source)]].concat());
    agent.says("serving /demand");
    let (mut stream, _) = app.accept().unwrap();
    let mut request = [0; 1024];
    assert!(stream.read(&mut request).unwrap() > 0);
    let body = "jobs{shard=\"a\"} 10\njobs{shard=\"b\"} 2\n";
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let report = agent.report();
        // The answer of one second is held until the next, which fails: nobody accepts then.
        if report.signals.app_queue == Some(0.75) {
            break assert!(report.demand_intensity > 0.0, "{report:?}");
        }
        assert!(Instant::now() < deadline, "{report:?}");
    }
}
