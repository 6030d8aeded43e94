//! The binary itself: serve and load meet, everything ends well on SIGTERM, and bad flags are refused.

#![allow(clippy::unwrap_used)] // clippy excuses test functions only, and these have helpers

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn lab(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mbcas-lab"));
    command
        .args(line.split_whitespace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn output(line: &str) -> (Output, String) {
    let output = lab(line).output().unwrap();
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    (output, errors)
}

struct Running {
    child: Child,
    _log: BufReader<ChildStderr>,
}

impl Running {
    /// Starts it and waits until its log says `sign`.
    fn start(line: &str, sign: &str) -> Self {
        let mut child = lab(line).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut all = String::new();
        while !all.contains(sign) {
            assert_ne!(log.read_line(&mut all).unwrap(), 0, "no {sign:?} in {all}");
        }
        Self { child, _log: log }
    }

    fn terminated(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[test]
fn load_on_a_server_gives_a_report_and_the_server_ends_well() {
    let (port, health) = (free_port(), free_port());
    let line = format!(
        "serve --address 127.0.0.1 --port {port} --health-port {health} --workers 2 --ms 1"
    );
    let server = Running::start(&line, "serving");
    let (done, errors) = output(&format!(
        "load --target web=http://127.0.0.1:{port}/work@40 --seconds 1 --slo-ms 1500"
    ));
    assert!(done.status.success(), "{errors}");
    let text = String::from_utf8(done.stdout).unwrap();
    let report: mbcas_lab::load::Report = serde_json::from_str(text.trim()).unwrap();
    assert!(
        report.sent > 10 && report.sent == report.ok && report.name == "web",
        "{text}"
    );

    let mut probe = TcpStream::connect(("127.0.0.1", health)).unwrap();
    write!(
        probe,
        "GET /metrics HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut page = String::new();
    probe.read_to_string(&mut page).unwrap();
    assert!(
        page.contains(&format!(
            "lab_requests_total{{outcome=\"ok\"}} {}",
            report.ok
        )),
        "{page}"
    );
    // A client that never sends its request holds a worker, and not the end.
    let _silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(server.terminated(), Some(0));
}

#[test]
fn burning_ends_well() {
    let fire = Running::start("burn --threads 1", "burning");
    assert_eq!(fire.terminated(), Some(0));
}

#[test]
fn what_is_out_of_bounds_is_refused_in_words() {
    for (line, word) in [
        (
            "load --target web=http://example.com:80/@1",
            "names are refused",
        ),
        (
            "load --target web=http://8.8.8.8:80/@1",
            "8.8.8.8 is refused",
        ),
        (
            "load --target web=http://127.0.0.1:80/@9999",
            "at most 2000",
        ),
        ("load", "--target"),
        (
            "load --target a=http://127.0.0.1:80/@1 --seconds 3601",
            "3600",
        ),
        ("serve --workers 0", "--workers"),
        ("serve --ms 1001", "1000"),
        ("burn --threads 0", "--threads"),
        ("burn --log-level mbcas=loud", "MBCAS_LOG"),
    ] {
        let (done, errors) = output(line);
        assert!(
            !done.status.success() && errors.contains(word),
            "{line}: {errors}"
        );
    }
}
